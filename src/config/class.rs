//! The six classes and their shares.

use std::fmt;
use std::str::FromStr;

use super::word;
use crate::units::{Rate, Wanted, quantity};

/// One of the six classes that an operator sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ClassName {
    /// Calls: sound above all.
    Voice,
    /// Games: small frames that are worth nothing late.
    Gaming,
    /// Films and conferences' pictures.
    Video,
    /// Pages, and what else someone waits for.
    Web,
    /// Large transfers.
    File,
    /// Updates and backups: whatever is left.
    Background,
}

impl ClassName {
    /// All six, in index order.
    pub const ALL: [ClassName; 6] =
        [ClassName::Voice, ClassName::Gaming, ClassName::Video, ClassName::Web, ClassName::File, ClassName::Background];

    /// The name in policy files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            ClassName::Voice => "voice",
            ClassName::Gaming => "gaming",
            ClassName::Video => "video",
            ClassName::Web => "web",
            ClassName::File => "file",
            ClassName::Background => "background",
        }
    }
}

impl FromStr for ClassName {
    type Err = Wanted;

    fn from_str(text: &str) -> Result<ClassName, Wanted> {
        word(text, &ClassName::ALL.map(|class| (class.name(), class)))
    }
}

impl fmt::Display for ClassName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What one class may have of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// Which class.
    pub name: ClassName,
    /// What it gets even when all others want more.
    pub guarantee: Share,
    /// What it gets at most when nobody else wants anything; at least the guarantee.
    pub ceiling: Share,
    /// The order in which classes borrow what is left, 0 first, at most 7.
    pub priority: u8,
    /// The share among classes of the same priority, 1 to 100.
    pub weight: u32,
}

impl Class {
    /// A class as it is when the file doesn't say.
    pub const fn of(name: ClassName) -> Class {
        let (priority, guarantee, ceiling) = match name {
            ClassName::Voice => (1, 10, 30),
            ClassName::Gaming => (2, 10, 50),
            ClassName::Video => (3, 30, 100),
            ClassName::Web => (3, 25, 100),
            ClassName::File => (5, 10, 100),
            ClassName::Background => (6, 5, 100),
        };
        let [guarantee, ceiling] = [Share::Percent(Percent(guarantee * 100)), Share::Percent(Percent(ceiling * 100))];
        Class { name, guarantee, ceiling, priority, weight: 1 }
    }
}

/// A part of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// In proportion to the link's rate.
    Percent(Percent),
    /// Whatever the link's rate.
    Rate(Rate),
}

impl Share {
    /// The rate that this is on a link of the rate `link`, rounded down.
    pub const fn of(self, link: Rate) -> Rate {
        match self {
            Share::Percent(percent) => Rate((link.0 as u128 * percent.0 as u128 / Percent::ALL.0 as u128) as u64),
            Share::Rate(rate) => rate,
        }
    }
}

impl FromStr for Share {
    type Err = Wanted;

    /// Reads `30%` or `12.5%`, in steps of 0.01% up to 100%, or a [`Rate`].
    fn from_str(text: &str) -> Result<Share, Wanted> {
        match quantity(text, &[("%", 100)]) {
            Some(hundredths) if hundredths <= Percent::ALL.0 as u64 => Ok(Share::Percent(Percent(hundredths as u32))),
            Some(_) => Err(Wanted::new("at most 100%")),
            None => text
                .parse()
                .map(Share::Rate)
                .map_err(|wanted: Wanted| Wanted::new(format!("a share like \"30%\" or {}", wanted.what()))),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Share::Percent(percent) => percent.fmt(f),
            Share::Rate(rate) => rate.fmt(f),
        }
    }
}

/// A share in hundredths of a percent: 10,000 is everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u32);

impl Percent {
    /// The whole.
    pub const ALL: Percent = Percent(10_000);
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, tenths) if tenths % 10 == 0 => write!(f, "{whole}.{}%", tenths / 10),
            (whole, hundredths) => write!(f, "{whole}.{hundredths:02}%"),
        }
    }
}

/// Reads a share above zero: a class that may never send would be a hole in the wire.
pub(super) fn ceiling(text: &str) -> Result<Share, Wanted> {
    match text.parse()? {
        Share::Percent(Percent(0)) | Share::Rate(Rate(0)) => Err(Wanted::new("more than nothing")),
        share => Ok(share),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_exactly_and_read_back_as_printed() {
        for (text, share) in [
            ("30%", Share::Percent(Percent(3_000))),
            ("12.5%", Share::Percent(Percent(1_250))),
            ("0.05%", Share::Percent(Percent(5))),
            ("100%", Share::Percent(Percent::ALL)),
            ("20mbit", Share::Rate(Rate(20_000_000))),
        ] {
            assert_eq!(text.parse(), Ok(share));
            assert_eq!(share.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for (text, wanted) in [
            ("101%", "want at most 100%"),
            ("0.001%", "want a share like \"30%\" or a rate like \"20mbit\""),
            ("30", "want a share like \"30%\" or a rate like \"20mbit\""),
            ("-5%", "want a share like \"30%\" or a rate like \"20mbit\""),
        ] {
            assert_eq!(Share::from_str(text).unwrap_err().to_string(), wanted, "{text}");
        }
    }

    #[test]
    fn a_share_of_any_link_fits() {
        assert_eq!(Share::Percent(Percent(3_333)).of(Rate(100)), Rate(33));
        assert_eq!(Share::Percent(Percent::ALL).of(Rate(u64::MAX)), Rate(u64::MAX));
        assert_eq!(Share::Rate(Rate(7)).of(Rate(5)), Rate(7));
    }

    #[test]
    fn the_defaults_leave_something_to_borrow() {
        let guaranteed: u64 = ClassName::ALL.map(|name| Class::of(name).guarantee.of(Rate(100)).0).iter().sum();
        assert_eq!(guaranteed, 90);
    }
}
