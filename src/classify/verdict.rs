//! What was decided about a packet, and why.

use super::{AppId, Class};

/// What was decided about a packet; small enough to be cached with every flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The class.
    pub class: Class,
    /// How sure the verdict is, in percent.
    pub confidence: u8,
    /// The application, as far as ports and protocol tell it.
    pub app: AppId,
    /// What decided.
    pub reason: Reason,
    /// Whether it belongs to a subscriber whose traffic is only classified and counted, never delayed or dropped.
    pub observed: bool,
}

impl Default for Verdict {
    /// The verdict about what nothing is known of.
    fn default() -> Verdict {
        Verdict { class: Class::Web, confidence: 0, app: AppId::UNKNOWN, reason: Reason::Default, observed: false }
    }
}

/// What decided a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is a link or routing protocol.
    Control,
    /// The operator's rule with this index.
    Rule(RuleIndex),
    /// A well-known port or IP protocol.
    Port,
    /// Nothing was known.
    Default,
}

/// The place of a rule among the operator's, from 0; in bytes, because the alignment of a number wastes space in the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleIndex([u8; 2]);

impl RuleIndex {
    /// The place as a number.
    pub const fn number(self) -> u16 {
        u16::from_ne_bytes(self.0)
    }
}

impl From<u16> for RuleIndex {
    fn from(number: u16) -> RuleIndex {
        RuleIndex(number.to_ne_bytes())
    }
}

impl Reason {
    /// The name for output; it stays the same across releases.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Control => "control",
            Reason::Rule(_) => "rule",
            Reason::Port => "port",
            Reason::Default => "default",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_has_eight_bytes() {
        assert_eq!(size_of::<Verdict>(), 8);
    }

    #[test]
    fn a_rule_is_found_again_by_its_index() {
        for number in [0, 1, 0x1234, u16::MAX] {
            assert_eq!(RuleIndex::from(number).number(), number);
        }
    }
}
