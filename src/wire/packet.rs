//! What one frame says, all layers together, in one pass and without a copy.

/// The network layer that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4, whose header begins at [`Packet::network_offset`].
    Ipv4,
    /// IPv6, likewise.
    Ipv6,
    /// ARP.
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
    /// The innermost network layer.
    pub network: Network,
    /// Where the network header begins; the frame's length if there is none.
    pub network_offset: u16,
    /// The IP protocol behind all IPv6 extension headers; zero without an IP layer.
    pub protocol: u8,
    /// The whole DS field: DSCP in the upper six bits, ECN in the lower two.
    pub ds_field: u8,
    /// Whether this is a fragment.
    pub fragment: Fragment,
    /// Where the transport header begins; the frame's length if it isn't here.
    pub transport_offset: u16,
    /// Source port of TCP, UDP (and UDP-Lite, SCTP, DCCP) if the header is here; for ICMP and ICMPv6 the type.
    pub source_port: u16,
    /// Destination port likewise; for ICMP and ICMPv6 the code.
    pub destination_port: u16,
}
