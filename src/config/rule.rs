//! Which frames belong to which class.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::key::nearest;
use crate::classify::{Apps, Class};
use crate::units::Wanted;
use crate::wire::{dscp, protocol};

/// One rule: what matches belongs to the class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What a frame must be.
    pub matches: Match,
    /// Where it belongs then.
    pub class: Class,
    /// The place of the policer that it has, if any.
    pub policer: Option<u16>,
    /// The line of the file, from 1, where the rule begins.
    pub line: u32,
}

/// What a frame must be: everything that is `Some`, and at least one thing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// The application, by its name in [`Apps::builtin`].
    pub app: Option<String>,
    /// The prefix, without host bits, that holds one of the two addresses.
    pub address: Option<IpNet>,
    /// The prefix, without host bits, that holds the address on the inside.
    pub inside: Option<IpNet>,
    /// The prefix, without host bits, that holds the address on the outside.
    pub outside: Option<IpNet>,
    /// The range, not empty and without 0, that holds one of the two ports.
    pub port: Option<RangeInclusive<u16>>,
    /// The IP protocol.
    pub protocol: Option<u8>,
    /// The identifier of one of the two outermost VLAN tags, at most 4094; 0 for a tag that only carries a priority, never
    /// for no tag.
    pub vlan: Option<u16>,
    /// The differentiated services codepoint, at most 63.
    pub dscp: Option<u8>,
}

/// Reads the name of one of `apps`.
pub(super) fn app(text: &str, apps: &Apps) -> Result<String, Wanted> {
    if apps.id(text).is_some() {
        return Ok(text.into());
    }
    let names: Vec<_> = apps.names().collect();
    Err(match nearest(text, &names) {
        Some(name) => Wanted::new(name.to_owned()),
        None => Wanted::new("an application of the port table, like \"ssh\"; docs/classification.md tells where it is"),
    })
}

/// Reads a prefix, or an address alone.
pub(super) fn prefix(text: &str) -> Result<IpNet, Wanted> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    let prefix = address.or_else(|_| text.parse::<IpNet>());
    match prefix {
        Ok(prefix) if prefix == prefix.trunc() => Ok(prefix),
        Ok(prefix) => {
            let (network, address) = (prefix.trunc(), prefix.addr());
            Err(Wanted::new(format!(
                "no bits behind the prefix: \"{network}\" for the network, or \"{address}\" for the host"
            )))
        }
        Err(_) => Err(Wanted::new("an address or prefix like \"192.0.2.0/24\" or \"2001:db8::/32\"")),
    }
}

/// Reads `443` or `5060-5061`.
pub(super) fn ports(text: &str) -> Result<RangeInclusive<u16>, Wanted> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.parse().ok().filter(|&port: &u16| port > 0);
    match port(first).zip(port(last)) {
        Some((first, last)) if first <= last => Ok(first..=last),
        Some((first, last)) => Err(Wanted::new(format!("the lower port first: \"{last}-{first}\""))),
        None => Err(Wanted::new("a port from 1 to 65535 or a range like \"5060-5061\"")),
    }
}

/// Reads a protocol by name or number.
pub(super) fn protocol(text: &str) -> Result<u8, Wanted> {
    protocol::number(text).or_else(|| text.parse().ok()).ok_or_else(|| {
        let names = protocol::NAMES.map(|(name, _)| name).join(", ");
        Wanted::new(format!("one of {names}, or a number from 0 to 255"))
    })
}

/// Reads a DSCP by name, in any case, or by number.
pub(super) fn dscp(text: &str) -> Result<u8, Wanted> {
    let number = || text.parse().ok().filter(|&number| number <= dscp::MAX);
    dscp::number(text)
        .or_else(number)
        .ok_or_else(|| Wanted::new("EF, VA, LE, CS0 to CS7, AF11 to AF43, or a number from 0 to 63"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applications() {
        let apps = Apps::builtin();
        assert_eq!(app("ssh", &apps).as_deref(), Ok("ssh"));
        for (text, wanted) in [("shh", "want ssh"), ("bit-torrent", "want bittorrent"), ("SNMP", "want an app")] {
            assert!(app(text, &apps).unwrap_err().to_string().starts_with(wanted), "{text}");
        }
        assert!(app("", &apps).is_err() && app("unknown", &apps).is_err());
    }

    #[test]
    fn prefixes() {
        assert_eq!(prefix("192.0.2.1").unwrap().to_string(), "192.0.2.1/32");
        assert_eq!(prefix("0.0.0.0/0").unwrap().to_string(), "0.0.0.0/0");
        assert_eq!(prefix("2001:db8::/32").unwrap().to_string(), "2001:db8::/32");
        for text in ["", "192.0.2.0/33", "::/129", "192.0.2/24", "example.org", "192.0.2.0/24/1", "fe80::1%eth0"] {
            assert!(prefix(text).unwrap_err().to_string().starts_with("want an address or prefix"), "{text}");
        }
        let wanted = "want no bits behind the prefix: \"192.0.2.0/24\" for the network, or \"192.0.2.7\" for the host";
        assert_eq!(prefix("192.0.2.7/24").unwrap_err().to_string(), wanted);
    }

    #[test]
    fn port_ranges() {
        assert_eq!(ports("443"), Ok(443..=443));
        assert_eq!(ports("5060-5061"), Ok(5060..=5061));
        assert_eq!(ports("1-65535"), Ok(1..=65535));
        for text in ["", "0", "65536", "1-", "-1", "1-2-3", "http", "0-5", "1 - 5"] {
            assert!(ports(text).unwrap_err().to_string().starts_with("want a port"), "{text}");
        }
        assert_eq!(ports("9-5").unwrap_err().to_string(), "want the lower port first: \"5-9\"");
    }

    #[test]
    fn protocols() {
        assert_eq!(
            (protocol("tcp"), protocol("icmp6"), protocol("0"), protocol("255")),
            (Ok(6), Ok(58), Ok(0), Ok(255))
        );
        assert!(protocol("256").is_err() && protocol("TCP").is_err() && protocol("").is_err());
    }

    #[test]
    fn code_points() {
        assert_eq!((dscp("EF"), dscp("af43"), dscp("0"), dscp("63")), (Ok(46), Ok(38), Ok(0), Ok(63)));
        for text in ["", "64", "CS8", "AF44", "AF10", "AF51", "BE", "EF ", "CS", "AF1"] {
            assert!(dscp(text).is_err(), "{text}");
        }
    }
}
