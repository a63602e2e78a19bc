//! Address blocks.

use std::net::IpAddr;

/// A block of addresses; IPv4 lies within IPv6 as ::ffff:a.b.c.d (RFC 4291, section 2.5.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    network: u128,
    mask: u128,
}

impl Prefix {
    /// The block of the addresses that share their first `length` bits with `address`, whose further bits are ignored.
    ///
    /// `None` if the address has fewer bits than `length`.
    pub fn new(address: IpAddr, length: u8) -> Option<Prefix> {
        let (bits, length) = match address {
            IpAddr::V4(v4) if length <= 32 => (v4.to_ipv6_mapped().to_bits(), length + 96),
            IpAddr::V6(v6) if length <= 128 => (v6.to_bits(), length),
            _ => return None,
        };
        let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
        Some(Prefix { network: bits & mask, mask })
    }

    /// Whether `address`, as a number with IPv4 mapped, is in the block.
    #[inline]
    pub const fn contains(&self, address: u128) -> bool {
        address & self.mask == self.network
    }

    /// The lowest address of the block.
    pub(super) const fn first(&self) -> u128 {
        self.network
    }

    /// The highest address of the block.
    pub(super) const fn last(&self) -> u128 {
        self.network | !self.mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(text: &str) -> u128 {
        match text.parse().unwrap() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        }
    }

    fn prefix(text: &str, length: u8) -> Option<Prefix> {
        Prefix::new(text.parse().unwrap(), length)
    }

    #[test]
    fn blocks_end_where_they_should() {
        let block = prefix("10.1.2.3", 16).unwrap();
        assert!(block.contains(bits("10.1.0.0")) && block.contains(bits("10.1.255.255")));
        assert!(!block.contains(bits("10.0.255.255")) && !block.contains(bits("10.2.0.0")));
        let block = prefix("2001:db8::", 33).unwrap();
        assert!(block.contains(bits("2001:db8:7fff::1")) && !block.contains(bits("2001:db8:8000::1")));
        let host = prefix("192.0.2.1", 32).unwrap();
        assert!(host.contains(bits("192.0.2.1")) && !host.contains(bits("192.0.2.0")));
    }

    #[test]
    fn all_of_ipv4_is_not_all() {
        let (v4, all) = (prefix("0.0.0.0", 0).unwrap(), prefix("::", 0).unwrap());
        assert!(v4.contains(bits("255.255.255.255")) && !v4.contains(bits("2001:db8::1")));
        assert!(all.contains(bits("255.255.255.255")) && all.contains(bits("2001:db8::1")));
    }

    #[test]
    fn lengths_beyond_the_address_are_refused() {
        assert_eq!(prefix("10.0.0.0", 33), None);
        assert_eq!(prefix("::", 129), None);
    }
}
