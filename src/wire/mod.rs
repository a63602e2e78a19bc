//! Bytes and their meaning: one file per protocol, views that never copy, and [`Packet`], which walks all of them.
//!
//! No I/O, no allocation, no `unsafe`. A view's constructor checks what its accessors need, so no accessor panics: each
//! view holds its fixed header as an array, whose constant offsets the compiler checks, and the bytes from there on.

// MAC addresses and the type field.
mod ethernet;
// IEEE 802.1Q tags and their relatives.
mod vlan;
// Label stacks.
mod mpls;
// PPP sessions over Ethernet.
mod pppoe;
// The IPv4 header with its options.
mod ipv4;
// The IPv6 header and its chain of extension headers.
mod ipv6;
// TCP segments.
mod tcp;
// UDP datagrams.
mod udp;
// ICMP and ICMPv6 messages.
mod icmp;
// What one frame says, all layers together.
mod packet;
// The walk over all layers.
mod parse;
// The numbers of the protocols that IP carries.
pub mod protocol;
// How a packet wants to be treated.
pub mod dscp;
// That wish, and the sign of congestion, written into a frame.
pub mod mark;

pub use ethernet::{Ethernet, ethertype};
pub use icmp::Icmp;
pub use ipv4::Ipv4;
pub use ipv6::{Extension, Ipv6, MAX_EXTENSIONS};
pub use mpls::{Label, MAX_LABELS};
pub use packet::{Fragment, Network, Packet};
pub use pppoe::{Pppoe, ppp};
pub use tcp::{Tcp, TcpFlags};
pub use udp::Udp;
pub use vlan::{MAX_TAGS, Vlan};

/// The big-endian 16-bit field at a constant offset of a fixed header.
#[inline(always)]
const fn be16<const N: usize>(header: &[u8; N], offset: usize) -> u16 {
    u16::from_be_bytes([header[offset], header[offset + 1]])
}

/// The big-endian 32-bit field at a constant offset of a fixed header.
#[inline(always)]
const fn be32<const N: usize>(header: &[u8; N], offset: usize) -> u32 {
    u32::from_be_bytes([header[offset], header[offset + 1], header[offset + 2], header[offset + 3]])
}
