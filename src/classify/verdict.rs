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
}

impl Default for Verdict {
    /// The verdict about what nothing is known of.
    fn default() -> Verdict {
        Verdict { class: Class::Web, confidence: 0, app: AppId::UNKNOWN, reason: Reason::Default }
    }
}

/// What decided a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is a link or routing protocol.
    Control,
    /// The operator's rule with this index.
    Rule(u16),
    /// A well-known port or IP protocol.
    Port,
    /// Nothing was known.
    Default,
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
}
