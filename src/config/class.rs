//! What each of the six classes may have of the link.

use super::{Percent, Share, word};
use crate::classify::Class;
use crate::qos::Mark;
use crate::units::Wanted;

/// What one class may have of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassSpec {
    /// Which class: one of [`Class::OPERATORS`].
    pub class: Class,
    /// What it gets even when all others want more.
    pub guarantee: Share,
    /// What it gets at most when nobody else wants anything; at least the guarantee.
    pub ceiling: Share,
    /// The order in which classes are served and borrow what is left, 0 first, at most 7.
    pub priority: u8,
    /// The share among classes of the same priority, 1 to 100.
    pub weight: u32,
    /// What it means to the marks of its frames.
    pub mark: Mark,
}

impl ClassSpec {
    /// The six as they are when the file doesn't say, in the order of [`Class::OPERATORS`].
    pub const DEFAULTS: [ClassSpec; Class::OPERATORS.len()] = {
        const fn class(class: Class, guarantee: u32, ceiling: u32, priority: u8) -> ClassSpec {
            let [guarantee, ceiling] =
                [Share::Percent(Percent(guarantee * 100)), Share::Percent(Percent(ceiling * 100))];
            ClassSpec { class, guarantee, ceiling, priority, weight: 1, mark: Mark::Map }
        }
        [
            class(Class::Voice, 10, 30, 1),
            class(Class::Gaming, 10, 50, 2),
            class(Class::Video, 30, 100, 3),
            class(Class::Web, 25, 100, 3),
            class(Class::File, 10, 100, 5),
            class(Class::Background, 5, 100, 6),
        ]
    };
}

/// Reads the name of a class that is the operator's.
pub(super) fn name(text: &str) -> Result<Class, Wanted> {
    word(text, &Class::OPERATORS.map(|class| (class.name(), class))).map_err(|wanted| match Class::from_name(text) {
        None => wanted,
        Some(internal) => Wanted::new(format!(
            "{}; {internal} is internal: what keeps the network alive is in it anyway",
            wanted.what()
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Rate;

    #[test]
    fn the_defaults_are_in_order_and_leave_something_to_borrow() {
        assert_eq!(ClassSpec::DEFAULTS.map(|spec| spec.class), Class::OPERATORS);
        assert_eq!(ClassSpec::DEFAULTS.map(|spec| spec.guarantee.of(Rate(100)).0).iter().sum::<u64>(), 90);
    }

    #[test]
    fn the_internal_class_is_refused_with_the_reason() {
        assert_eq!(name("video"), Ok(Class::Video));
        let six = "want one of \"voice\", \"gaming\", \"video\", \"web\", \"file\", \"background\"";
        assert_eq!(name("Video").unwrap_err().to_string(), six);
        let control = name("control").unwrap_err().to_string();
        assert_eq!(control, format!("{six}; control is internal: what keeps the network alive is in it anyway"));
    }
}
