//! Parts of the link.

use std::fmt;
use std::str::FromStr;

use crate::qos::bucket;
use crate::units::{Rate, Wanted, quantity};

/// The lowest rate: a full frame takes twelve seconds.
pub const MIN_RATE: Rate = Rate(1_000);

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

    /// Reads `30%` or `12.5%`, in steps of 0.01% up to 100%, or a [`Rate`] that a bucket can have, or a rate of zero.
    fn from_str(text: &str) -> Result<Share, Wanted> {
        match quantity(text, &[("%", 100)]) {
            Some(hundredths) if hundredths <= Percent::ALL.0 as u64 => Ok(Share::Percent(Percent(hundredths as u32))),
            Some(_) => Err(Wanted::new("at most 100%")),
            None if text.parse() == Ok(Rate(0)) => Ok(Share::Rate(Rate(0))),
            None => rate(text)
                .map(Share::Rate)
                .map_err(|wanted| Wanted::new(format!("a share like \"30%\" or {}", wanted.what()))),
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

/// Reads a rate from [`MIN_RATE`] to [`bucket::MAX_RATE`].
pub(super) fn rate(text: &str) -> Result<Rate, Wanted> {
    let range = MIN_RATE..=bucket::MAX_RATE;
    let rate = text.parse()?;
    if range.contains(&rate) {
        return Ok(rate);
    }
    Err(Wanted::new(format!("a rate from {} to {}", range.start(), range.end())))
}

/// Reads a share above zero: a class that may never send would be a hole in the wire.
pub(super) fn above_zero(text: &str) -> Result<Share, Wanted> {
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
    fn rates_are_what_a_bucket_can_have() {
        assert_eq!((rate("1kbit"), rate("100000gbit")), (Ok(MIN_RATE), Ok(bucket::MAX_RATE)));
        for text in ["0bit", "999bit", "100000000000001bit"] {
            assert_eq!(rate(text).unwrap_err().to_string(), "want a rate from 1kbit to 100000gbit", "{text}");
        }
        assert_eq!("0mbit".parse(), Ok(Share::Rate(Rate(0))));
        assert_eq!("0%".parse(), Ok(Share::Percent(Percent(0))));
        let wanted = "want a share like \"30%\" or a rate from 1kbit to 100000gbit";
        assert_eq!(Share::from_str("999bit").unwrap_err().to_string(), wanted);
        assert!(above_zero("0mbit").is_err() && above_zero("0%").is_err() && above_zero("0.01%").is_ok());
    }
}
