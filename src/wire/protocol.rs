//! Protocol numbers of IPv4's protocol field and IPv6's next header (IANA "Assigned Internet Protocol Numbers").

/// IPv6 hop-by-hop options (RFC 8200, section 4.3).
pub const HOP_BY_HOP: u8 = 0;
/// ICMP (RFC 792).
pub const ICMP: u8 = 1;
/// TCP (RFC 9293).
pub const TCP: u8 = 6;
/// UDP (RFC 768).
pub const UDP: u8 = 17;
/// DCCP (RFC 4340), whose header begins with the two ports.
pub const DCCP: u8 = 33;
/// IPv6 routing header (RFC 8200, section 4.4).
pub const ROUTING: u8 = 43;
/// IPv6 fragment header (RFC 8200, section 4.5).
pub const FRAGMENT: u8 = 44;
/// Encapsulating Security Payload (RFC 4303); nothing behind it can be read.
pub const ESP: u8 = 50;
/// Authentication Header (RFC 4302).
pub const AH: u8 = 51;
/// ICMPv6 (RFC 4443).
pub const ICMPV6: u8 = 58;
/// IPv6: nothing follows (RFC 8200, section 4.7).
pub const NO_NEXT_HEADER: u8 = 59;
/// IPv6 destination options (RFC 8200, section 4.6).
pub const DESTINATION: u8 = 60;
/// OSPF (RFC 2328, RFC 5340).
pub const OSPF: u8 = 89;
/// VRRP (RFC 9568).
pub const VRRP: u8 = 112;
/// SCTP (RFC 9260), whose header begins with the two ports.
pub const SCTP: u8 = 132;
/// IPv6 mobility header (RFC 6275).
pub const MOBILITY: u8 = 135;
/// UDP-Lite (RFC 3828), whose header begins with the two ports.
pub const UDP_LITE: u8 = 136;
/// Host Identity Protocol (RFC 7401).
pub const HIP: u8 = 139;
/// Shim6 (RFC 5533).
pub const SHIM6: u8 = 140;

/// Whether the protocol's header begins with a source and a destination port of 16 bits each.
#[inline]
pub fn has_ports(protocol: u8) -> bool {
    HAS_PORTS[protocol as usize]
}

/// One load instead of five comparisons: every frame asks.
static HAS_PORTS: [bool; 256] = {
    let mut table = [false; 256];
    let mut protocols: &[u8] = &[TCP, UDP, DCCP, SCTP, UDP_LITE];
    while let [protocol, rest @ ..] = protocols {
        table[*protocol as usize] = true;
        protocols = rest;
    }
    table
};

/// The protocols that have names in policies and reports, and their numbers.
pub const NAMES: [(&str, u8); 15] = [
    ("icmp", ICMP),
    ("igmp", 2),
    ("tcp", TCP),
    ("udp", UDP),
    ("dccp", DCCP),
    ("gre", 47),
    ("esp", ESP),
    ("ah", AH),
    ("icmp6", ICMPV6),
    ("ospf", OSPF),
    ("pim", 103),
    ("vrrp", VRRP),
    ("l2tp", 115),
    ("sctp", SCTP),
    ("udplite", UDP_LITE),
];

/// The name of a protocol, if it is one of [`NAMES`].
pub fn name(protocol: u8) -> Option<&'static str> {
    NAMES.iter().find(|(_, number)| *number == protocol).map(|(name, _)| *name)
}

/// The protocol called `name`, if it is one of [`NAMES`].
pub fn number(name: &str) -> Option<u8> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_to_each_other() {
        for (known, code) in NAMES {
            assert_eq!((name(code), number(known)), (Some(known), Some(code)));
        }
        assert_eq!((name(255), number("TCP"), number("")), (None, None, None));
    }
}
