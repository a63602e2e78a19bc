//! Captured link layers, and the Ethernet frames that stand for them.
//!
//! The datapath knows Ethernet only. What else is captured gets an Ethernet header made up from what it carries, so that it
//! can be classified; it can't be written back. Layouts: <https://www.tcpdump.org/linktypes.html>.

use std::fmt;

use super::MAX_FRAME;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const MPLS: u16 = 0x8847;

/// A link-layer header type, by its number in capture files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkType(pub u32);

impl LinkType {
    /// BSD loopback: the address family in the byte order of the capturing machine.
    pub const NULL: LinkType = LinkType(0);
    /// Ethernet.
    pub const ETHERNET: LinkType = LinkType(1);
    /// PPP, with or without address and control.
    pub const PPP: LinkType = LinkType(9);
    /// PPP in HDLC framing (RFC 1662), or Cisco's HDLC.
    pub const PPP_HDLC: LinkType = LinkType(50);
    /// IPv4 or IPv6 without a header; 12 and 14 on some BSDs.
    pub const RAW: LinkType = LinkType(101);
    /// Cisco's HDLC.
    pub const C_HDLC: LinkType = LinkType(104);
    /// 802.11.
    pub const IEEE802_11: LinkType = LinkType(105);
    /// OpenBSD loopback: the address family in network byte order.
    pub const LOOP: LinkType = LinkType(108);
    /// Linux "any" device.
    pub const LINUX_SLL: LinkType = LinkType(113);
    /// 802.11 behind a radiotap header.
    pub const IEEE802_11_RADIOTAP: LinkType = LinkType(127);
    /// Per-packet information, with a link type of its own.
    pub const PPI: LinkType = LinkType(192);
    /// IPv4 without a header.
    pub const IPV4: LinkType = LinkType(228);
    /// IPv6 without a header.
    pub const IPV6: LinkType = LinkType(229);
    /// Linux "any" device, second version.
    pub const LINUX_SLL2: LinkType = LinkType(276);

    /// Whether the bytes are Ethernet frames as they are.
    pub const fn is_ethernet(self) -> bool {
        self.0 == LinkType::ETHERNET.0
    }

    /// Makes `frame` the Ethernet frame that stands for `data`, cut at [`MAX_FRAME`]; false, and no frame, if nothing is known to be in it.
    ///
    /// Addresses are those of 802.11, or else made from the IP addresses: equal for equal, locally administered.
    pub fn to_ethernet(self, data: &[u8], frame: &mut Vec<u8>) -> bool {
        frame.clear();
        self.rebuild(data, frame, true).is_some() && {
            frame.truncate(MAX_FRAME);
            true
        }
    }

    fn rebuild(self, data: &[u8], frame: &mut Vec<u8>, outermost: bool) -> Option<()> {
        let (ethertype, payload) = match self {
            LinkType::ETHERNET => {
                frame.extend_from_slice(data);
                return Some(());
            }
            LinkType::IEEE802_11 => return wifi(data, frame),
            LinkType::IEEE802_11_RADIOTAP => {
                let length = u16::from_le_bytes(*data.get(2..)?.first_chunk()?);
                return wifi(data.get(usize::from(length)..)?, frame);
            }
            LinkType::PPI if outermost => {
                let length = u16::from_le_bytes(*data.get(2..)?.first_chunk()?);
                let inner = u32::from_le_bytes(*data.get(4..)?.first_chunk()?);
                return LinkType(inner).rebuild(data.get(usize::from(length)..)?, frame, false);
            }
            LinkType::NULL | LinkType::LOOP => loopback(data)?,
            LinkType::PPP | LinkType::PPP_HDLC => ppp(data)?,
            LinkType::RAW | LinkType(12 | 14) => match data.first()? >> 4 {
                4 => (IPV4, data),
                6 => (IPV6, data),
                _ => return None,
            },
            LinkType::IPV4 => (IPV4, data),
            LinkType::IPV6 => (IPV6, data),
            LinkType::C_HDLC => (be16(data, 2)?, data.get(4..)?),
            LinkType::LINUX_SLL => (be16(data, 14)?, data.get(16..)?),
            LinkType::LINUX_SLL2 => (be16(data, 0)?, data.get(20..)?),
            _ => return None,
        };
        // Below that it would be an 802.3 length.
        if ethertype < 0x600 {
            return None;
        }
        let (destination, source) = addresses(ethertype, payload);
        put(frame, destination, source, ethertype, payload);
        Some(())
    }
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            LinkType::NULL => "NULL",
            LinkType::ETHERNET => "ETHERNET",
            LinkType::PPP => "PPP",
            LinkType::PPP_HDLC => "PPP_HDLC",
            LinkType::RAW | LinkType(12 | 14) => "RAW",
            LinkType::C_HDLC => "C_HDLC",
            LinkType::IEEE802_11 => "IEEE802_11",
            LinkType::LOOP => "LOOP",
            LinkType::LINUX_SLL => "LINUX_SLL",
            LinkType::IEEE802_11_RADIOTAP => "IEEE802_11_RADIOTAP",
            LinkType::PPI => "PPI",
            LinkType::IPV4 => "IPV4",
            LinkType::IPV6 => "IPV6",
            LinkType::LINUX_SLL2 => "LINUX_SLL2",
            LinkType(number) => return write!(f, "link type {number}"),
        };
        write!(f, "link type {} ({name})", self.0)
    }
}

fn put(frame: &mut Vec<u8>, destination: [u8; 6], source: [u8; 6], ethertype: u16, payload: &[u8]) {
    frame.extend_from_slice(&destination);
    frame.extend_from_slice(&source);
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame.extend_from_slice(payload);
}

/// The family numbers of IPv6 differ between systems: Linux 10, NetBSD and OpenBSD 24, FreeBSD 28, macOS 30.
fn loopback(data: &[u8]) -> Option<(u16, &[u8])> {
    let family = u32::from_be_bytes(*data.first_chunk()?);
    let family = if family > 0xffff { family.swap_bytes() } else { family };
    match family {
        2 => Some((IPV4, &data[4..])),
        10 | 24 | 28 | 30 => Some((IPV6, &data[4..])),
        _ => None,
    }
}

fn ppp(data: &[u8]) -> Option<(u16, &[u8])> {
    let data = match data {
        [0xff, 0x03, rest @ ..] => rest,
        // Cisco's HDLC, to one or to all.
        [0x0f | 0x8f, 0x00, rest @ ..] => return Some((be16(rest, 0)?, &rest[2..])),
        _ => data,
    };
    // A protocol number of one byte is odd (RFC 1661, section 6.5).
    let (protocol, payload) = match *data {
        [first, ref rest @ ..] if first & 1 == 1 => (u16::from(first), rest),
        [first, second, ref rest @ ..] => (u16::from_be_bytes([first, second]), rest),
        _ => return None,
    };
    match protocol {
        0x0021 => Some((IPV4, payload)),
        0x0057 => Some((IPV6, payload)),
        0x0281 => Some((MPLS, payload)),
        _ => None,
    }
}

/// An unprotected data frame with an LLC/SNAP header (IEEE 802.11-2020, 9.3.2.1).
fn wifi(data: &[u8], frame: &mut Vec<u8>) -> Option<()> {
    let [control, flags, ..] = *data else { return None };
    let (qos, empty) = (control & 0x80 != 0, control & 0x40 != 0);
    let (to_ds, from_ds, protected) = (flags & 1 != 0, flags & 2 != 0, flags & 0x40 != 0);
    if control & 0x0f != 0x08 || empty || protected {
        return None;
    }
    let address = |at: usize| -> Option<[u8; 6]> { data.get(at..)?.first_chunk().copied() };
    let destination = address(if to_ds { 16 } else { 4 })?;
    let source = address(match (to_ds, from_ds) {
        (_, false) => 10,
        (false, true) => 16,
        (true, true) => 24,
    })?;
    let mut header = if to_ds && from_ds { 30 } else { 24 };
    if qos {
        // Several frames in one are not taken apart.
        if data.get(header)? & 0x80 != 0 {
            return None;
        }
        header += if flags & 0x80 != 0 { 6 } else { 2 };
    }
    let llc = data.get(header..)?;
    if !llc.starts_with(&[0xaa, 0xaa, 0x03, 0, 0]) {
        return None;
    }
    put(frame, destination, source, be16(llc, 6)?, &llc[8..]);
    Some(())
}

/// Destination and source made from the IP addresses, so that the two directions of a talk mirror each other.
fn addresses(ethertype: u16, payload: &[u8]) -> ([u8; 6], [u8; 6]) {
    let (source, destination) = match ethertype {
        IPV4 if payload.len() >= 20 => (&payload[12..16], &payload[16..20]),
        IPV6 if payload.len() >= 40 => (&payload[8..24], &payload[24..40]),
        _ => (&[1][..], &[2][..]),
    };
    (made_from(destination), made_from(source))
}

fn made_from(bytes: &[u8]) -> [u8; 6] {
    let mut address = [0x02, 0, 0, 0, 0, 0];
    for (i, byte) in bytes.iter().enumerate() {
        address[1 + i % 5] ^= byte;
    }
    address
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}
