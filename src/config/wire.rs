//! The pair of ports and what their link can carry.

use std::str::FromStr;

use super::share::rate;
use super::{Directions, word};
use crate::qos::Overhead;
use crate::units::{Nanos, Rate, Wanted};

/// One pair of ports, with the rates of the link behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The interface towards the subscribers.
    pub inside: String,
    /// The interface towards the internet.
    pub outside: String,
    /// The rate of what leaves by the inside port; `None` for no limit.
    pub download: Option<Rate>,
    /// The rate of what leaves by the outside port; `None` for no limit.
    pub upload: Option<Rate>,
    /// What the link adds to each frame.
    pub overhead: Overhead,
    /// Whether frames are delayed and dropped at all.
    pub mode: Mode,
    /// How long a frame may wait in its leaf.
    pub queue: Nanos,
    /// What becomes of frames while nobody forwards them.
    pub on_failure: OnFailure,
    /// What the loss of one port's link means to the other port.
    pub link_loss: LinkLoss,
    /// Where frames lose the mark with which they came, unless their class or a remark says otherwise.
    pub wash: Directions,
}

impl Wire {
    /// A wire between two interfaces, everything else as it is when the file doesn't say.
    pub fn between(inside: String, outside: String) -> Wire {
        let queue = Nanos::from_millis(50);
        let (overhead, mode) = (Overhead::ETHERNET, Mode::Enforce);
        let (on_failure, link_loss) = (OnFailure::Open, LinkLoss::Ignore);
        let wash = Directions::default();
        Wire { inside, outside, download: None, upload: None, overhead, mode, queue, on_failure, link_loss, wash }
    }

    /// The wire's name in reports: its two interfaces.
    pub fn name(&self) -> String {
        format!("{}-{}", self.inside, self.outside)
    }
}

/// Whether frames are delayed and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are.
    Enforce,
    /// They are only classified and counted.
    Observe,
}

impl FromStr for Mode {
    type Err = Wanted;

    fn from_str(text: &str) -> Result<Mode, Wanted> {
        word(text, &[("enforce", Mode::Enforce), ("observe", Mode::Observe)])
    }
}

/// What becomes of frames while nobody forwards them: Tidegate is starting, has ended, or hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The kernel's bridge forwards them.
    Open,
    /// They are dropped.
    Closed,
}

impl FromStr for OnFailure {
    type Err = Wanted;

    fn from_str(text: &str) -> Result<OnFailure, Wanted> {
        word(text, &[("open", OnFailure::Open), ("closed", OnFailure::Closed)])
    }
}

/// What the loss of one port's link means to the other port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLoss {
    /// Nothing.
    Ignore,
    /// It is taken down, too, so that whoever is behind it sees the loss.
    Carry,
}

impl FromStr for LinkLoss {
    type Err = Wanted;

    fn from_str(text: &str) -> Result<LinkLoss, Wanted> {
        word(text, &[("ignore", LinkLoss::Ignore), ("carry", LinkLoss::Carry)])
    }
}

/// Reads an interface's name by the kernel's rules (`dev_valid_name` in net/core/dev.c).
pub(super) fn interface(text: &str) -> Result<String, Wanted> {
    let is_name = !matches!(text, "" | "." | "..") && text.len() <= 15;
    if is_name && !text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':')) {
        return Ok(text.into());
    }
    Err(Wanted::new("the name of an interface: at most 15 bytes, without spaces, slashes and colons"))
}

/// The most bytes that a link may add to each frame.
const OVERHEAD_MAX: u32 = 256;

/// Reads `none`, `ethernet`, or a number of bytes, which comes without a shortest frame.
pub(super) fn overhead(text: &str) -> Result<Overhead, Wanted> {
    if let Some(bytes) = text.parse().ok().filter(|&bytes| bytes <= OVERHEAD_MAX) {
        return Ok(Overhead { bytes, min_frame: 0 });
    }
    word(text, &[("none", Overhead::NONE), ("ethernet", Overhead::ETHERNET)])
        .map_err(|wanted| Wanted::new(format!("{} or a number of bytes from 0 to {OVERHEAD_MAX}", wanted.what())))
}

/// Reads the rate of a link.
pub(super) fn link_rate(text: &str) -> Result<Rate, Wanted> {
    match rate(text) {
        Err(wanted) if text.parse() == Ok(Rate(0)) => {
            Err(Wanted::new(format!("{}, or no such key for no limit", wanted.what())))
        }
        read => read,
    }
}

/// Reads how long a leaf may hold a frame.
pub(super) fn queue(text: &str) -> Result<Nanos, Wanted> {
    let span: Nanos = text.parse()?;
    let range = Nanos::from_micros(100)..=Nanos::from_millis(10_000);
    if range.contains(&span) { Ok(span) } else { Err(Wanted::new("a time from 100us to 10s")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_are_the_kernels() {
        for name in ["eth0", "a", "enp0s31f6", "br-lan.100", "fifteen-bytes-x", "wan@home"] {
            assert_eq!(interface(name).as_deref(), Ok(name));
        }
        for name in ["", ".", "..", "sixteen-bytes-xx", "a b", "a/b", "eth0:1", "eth0\n", "ééééééééé"] {
            assert!(interface(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn overhead_is_a_kind_or_a_number() {
        assert_eq!(overhead("none"), Ok(Overhead::NONE));
        assert_eq!(overhead("ethernet"), Ok(Overhead::ETHERNET));
        assert_eq!(overhead("256"), Ok(Overhead { bytes: 256, min_frame: 0 }));
        for text in ["257", "-1", "", "Ethernet", "4294967296"] {
            let wanted = "want \"none\" or \"ethernet\" or a number of bytes from 0 to 256";
            assert_eq!(overhead(text).unwrap_err().to_string(), wanted, "{text}");
        }
    }

    #[test]
    fn limits_have_bounds() {
        assert_eq!(link_rate("1kbit"), Ok(Rate(1_000)));
        let wanted = "want a rate from 1kbit to 100000gbit";
        assert_eq!(link_rate("999bit").unwrap_err().to_string(), wanted);
        let zero = link_rate("0mbit").unwrap_err().to_string();
        assert_eq!(zero, format!("{wanted}, or no such key for no limit"));
        assert!(queue("100us").is_ok() && queue("10s").is_ok());
        assert!(queue("99us").is_err() && queue("10.1s").is_err() && queue("0ms").is_err());
    }
}
