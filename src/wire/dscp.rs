//! Code points of the DS field (IANA "Differentiated Services Field Codepoints"): six bits that say how a packet wants to
//! be treated.

/// The code points that have names in policies and reports, and their numbers.
pub const NAMES: [(&str, u8); 23] = [
    // Class selectors, the precedences of old (RFC 2474, section 4.2.2); CS0 is the default.
    ("CS0", 0),
    ("CS1", 8),
    ("CS2", 16),
    ("CS3", 24),
    ("CS4", 32),
    ("CS5", 40),
    ("CS6", 48),
    ("CS7", 56),
    // Assured forwarding: class, then drop precedence (RFC 2597, section 6).
    ("AF11", 10),
    ("AF12", 12),
    ("AF13", 14),
    ("AF21", 18),
    ("AF22", 20),
    ("AF23", 22),
    ("AF31", 26),
    ("AF32", 28),
    ("AF33", 30),
    ("AF41", 34),
    ("AF42", 36),
    ("AF43", 38),
    // Expedited forwarding (RFC 3246, section 2.7).
    ("EF", 46),
    // Voice that was admitted (RFC 5865, section 4).
    ("VA", 44),
    // Lower effort (RFC 8622, section 4).
    ("LE", 1),
];

/// The largest code point.
pub const MAX: u8 = 63;

/// The name of a code point, if it is one of [`NAMES`].
pub fn name(dscp: u8) -> Option<&'static str> {
    NAMES.iter().find(|(_, number)| *number == dscp).map(|(name, _)| *name)
}

/// The code point called `name`, in any case, if it is one of [`NAMES`].
pub fn number(name: &str) -> Option<u8> {
    NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_to_each_other() {
        for (known, code) in NAMES {
            assert_eq!((name(code), number(known)), (Some(known), Some(code)));
            assert!(code <= MAX);
        }
        assert_eq!((name(63), number("BE"), number(""), number("ef")), (None, None, None, Some(46)));
    }

    #[test]
    fn class_selectors_and_assured_forwarding_are_as_their_bits() {
        for class in 0..=7 {
            assert_eq!(number(&format!("CS{class}")), Some(class << 3));
        }
        for (class, drop) in (1..=4).flat_map(|class| (1..=3).map(move |drop| (class, drop))) {
            assert_eq!(number(&format!("AF{class}{drop}")), Some(class << 3 | drop << 1));
        }
    }
}
