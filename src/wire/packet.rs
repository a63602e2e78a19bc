//! What one frame says, all layers together, in one pass and without a copy.

use std::num::NonZeroU16;

use super::{Ipv4, Ipv6, Tcp, Udp, protocol};

/// The network layer that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4, whose header begins at [`Packet::network_offset`].
    Ipv4,
    /// IPv6, likewise.
    Ipv6,
    /// ARP, by its ethertype alone.
    Arp,
    /// Anything else, or a header that doesn't hold together.
    Other,
}

/// Whether an IP packet is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// Not a fragment.
    Whole,
    /// The first fragment: the transport header is here, but more of the payload follows elsewhere.
    ///
    /// Its ports are reported, but later fragments have none: whoever tells flows apart leaves them out for both.
    First,
    /// A later fragment: no transport header.
    Later,
}

/// The layers of a frame that could be understood; what could not is simply absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The number of VLAN tags (802.1Q, 802.1ad and their pre-standard types) at the front.
    pub vlan_tags: u8,
    /// The identifiers (12 bits) of the outermost two tags; zero where there is no tag.
    pub vlan: [u16; 2],
    /// The type field behind the last VLAN tag; a value below 0x600 is an 802.3 length.
    pub ethertype: u16,
    /// The number of MPLS labels.
    pub mpls_labels: u8,
    /// Whether the packet is inside a PPPoE session.
    pub pppoe: bool,
    /// The network layer; tunnels over IP aren't looked into.
    pub network: Network,
    /// Where the network header begins; the frame's length if there is none.
    pub network_offset: u16,
    /// The IP protocol behind all IPv6 extension headers; zero without an IP layer.
    ///
    /// Where the chain is cut, is too long, or goes on in an earlier fragment: the kind of header that couldn't be read.
    pub protocol: u8,
    /// The whole DS field: DSCP in the upper six bits, ECN in the lower two.
    pub ds_field: u8,
    /// Whether this is a fragment.
    pub fragment: Fragment,
    /// Where that protocol's header begins; the frame's length if not one byte of it is here.
    pub transport_offset: u16,
    /// Source port of TCP, UDP (and UDP-Lite, SCTP, DCCP) if the header is here; for ICMP and ICMPv6 the type.
    pub source_port: u16,
    /// Destination port likewise; for ICMP and ICMPv6 the code.
    pub destination_port: u16,
}

/// What is read again from the frame that was parsed, because not every frame needs it. With another frame the answers
/// mean nothing, but nothing panics.
impl Packet {
    /// The code point of the DS field, 6 bits.
    #[inline]
    pub const fn dscp(&self) -> u8 {
        self.ds_field >> 2
    }

    /// Where the IP header begins, if there is one: what it takes to [mark](super::mark) the frame.
    #[inline]
    pub const fn ip_offset(&self) -> Option<NonZeroU16> {
        match self.network {
            Network::Ipv4 | Network::Ipv6 => NonZeroU16::new(self.network_offset),
            Network::Arp | Network::Other => None,
        }
    }

    /// The IPv4 layer.
    #[inline]
    pub fn ipv4<'a>(&self, frame: &'a [u8]) -> Option<Ipv4<'a>> {
        if self.network != Network::Ipv4 {
            return None;
        }
        Ipv4::new(frame.get(self.network_offset as usize..)?)
    }

    /// The IPv6 layer.
    #[inline]
    pub fn ipv6<'a>(&self, frame: &'a [u8]) -> Option<Ipv6<'a>> {
        if self.network != Network::Ipv6 {
            return None;
        }
        Ipv6::new(frame.get(self.network_offset as usize..)?)
    }

    /// Source and destination of the IP layer; IPv4 as `::ffff:a.b.c.d` (RFC 4291, section 2.5.5.2).
    #[inline]
    pub fn addresses(&self, frame: &[u8]) -> Option<([u8; 16], [u8; 16])> {
        let packet = frame.get(self.network_offset as usize..)?;
        match self.network {
            Network::Ipv4 => Ipv4::addresses(packet).map(|(from, to)| (mapped(from), mapped(to))),
            Network::Ipv6 => Ipv6::addresses(packet),
            Network::Arp | Network::Other => None,
        }
    }

    /// What IP carries, from the transport header on, without the padding of the frame; empty if none is here.
    #[inline]
    pub fn transport<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let len = match self.network {
            Network::Ipv4 => self.ipv4(frame).map(|ip| ip.total_len()),
            Network::Ipv6 => self.ipv6(frame).map(|ip| ip.total_len()),
            Network::Arp | Network::Other => None,
        };
        let end = frame.len().min(self.network_offset as usize + len.unwrap_or(0));
        frame.get(self.transport_offset as usize..end).unwrap_or_default()
    }

    /// The TCP segment, if its whole header is here.
    #[inline]
    pub fn tcp<'a>(&self, frame: &'a [u8]) -> Option<Tcp<'a>> {
        if self.protocol != protocol::TCP { None } else { Tcp::new(self.transport(frame)) }
    }

    /// The UDP datagram, if its whole header is here.
    #[inline]
    pub fn udp<'a>(&self, frame: &'a [u8]) -> Option<Udp<'a>> {
        if self.protocol != protocol::UDP { None } else { Udp::new(self.transport(frame)) }
    }

    /// What TCP or UDP carries, as far as it is here, without the padding of the frame; `None` without such a layer.
    #[inline]
    pub fn payload<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        match self.protocol {
            protocol::TCP => self.tcp(frame).map(|segment| segment.payload()),
            protocol::UDP => self.udp(frame).map(|datagram| datagram.payload()),
            _ => None,
        }
    }

    /// Where [`payload`](Packet::payload) begins in the frame.
    #[inline]
    pub fn payload_offset(&self, frame: &[u8]) -> Option<usize> {
        let header = match self.protocol {
            protocol::TCP => self.tcp(frame)?.header_len(),
            protocol::UDP => self.udp(frame).map(|_| Udp::LEN)?,
            _ => return None,
        };
        Some(self.transport_offset as usize + header)
    }
}

/// An IPv4 address among the IPv6 addresses.
#[inline]
const fn mapped(address: [u8; 4]) -> [u8; 16] {
    (0xffff << 32 | u32::from_be_bytes(address) as u128).to_be_bytes()
}
