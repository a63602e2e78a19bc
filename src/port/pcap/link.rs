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

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET4: [u8; 20] = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 192, 0, 2, 9];
    const PACKET6: [u8; 40] = {
        let mut packet = [0; 40];
        packet[0] = 0x60;
        packet[23] = 1;
        packet[39] = 2;
        packet
    };

    fn made(link: LinkType, header: &[u8], payload: &[u8]) -> Option<Vec<u8>> {
        let mut frame = vec![9; 9];
        link.to_ethernet(&[header, payload].concat(), &mut frame).then_some(frame)
    }

    #[test]
    fn ip_behind_every_header_comes_out_the_same() {
        let four = [&[2, 192, 0, 2, 9, 0, 2, 10, 0, 0, 1, 0, 8, 0][..], &PACKET4].concat();
        let six = [&[2, 2, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0x86, 0xdd][..], &PACKET6].concat();
        let sll = [0, 4, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0];
        let sll2 = [0; 18];
        let cases: &[(LinkType, &[u8], &[u8])] = &[
            (LinkType::RAW, &[], &[]),
            (LinkType(12), &[], &[]),
            (LinkType::NULL, &[2, 0, 0, 0], &[30, 0, 0, 0]),
            (LinkType::NULL, &[0, 0, 0, 2], &[0, 0, 0, 10]),
            (LinkType::LOOP, &[0, 0, 0, 2], &[0, 0, 0, 24]),
            (LinkType::PPP, &[0, 0x21], &[0, 0x57]),
            (LinkType::PPP, &[0x21], &[0x57]),
            (LinkType::PPP_HDLC, &[0xff, 3, 0, 0x21], &[0xff, 3, 0x57]),
            (LinkType::PPP_HDLC, &[0x0f, 0, 8, 0], &[0x8f, 0, 0x86, 0xdd]),
            (LinkType::C_HDLC, &[0x0f, 0, 8, 0], &[0x8f, 0, 0x86, 0xdd]),
            (LinkType::LINUX_SLL, &[&sll[..], &[8, 0]].concat(), &[&sll[..], &[0x86, 0xdd]].concat()),
            (LinkType::LINUX_SLL2, &[&[8, 0][..], &sll2].concat(), &[&[0x86, 0xdd][..], &sll2].concat()),
            (LinkType::PPI, &[0, 0, 8, 0, 101, 0, 0, 0], &[0, 0, 8, 0, 101, 0, 0, 0]),
        ];
        for (link, header4, header6) in cases {
            assert_eq!(made(*link, header4, &PACKET4).as_ref(), Some(&four), "{link}");
            assert_eq!(made(*link, header6, &PACKET6).as_ref(), Some(&six), "{link}");
        }
        assert_eq!(made(LinkType::IPV4, &[], &PACKET4), Some(four));
        assert_eq!(made(LinkType::IPV6, &[], &PACKET6), Some(six));
    }

    #[test]
    fn wireless_data_frames_keep_their_addresses() {
        let (a, b, c, d) = ([0xa; 6], [0xb; 6], [0xc; 6], [0xd; 6]);
        let snap = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
        let frame = |control: [u8; 2], rest: &[u8]| {
            [&control[..], &[0, 0], &a, &b, &c, &[0, 0], rest, &snap, &PACKET4].concat()
        };
        let ethernet =
            |destination: [u8; 6], source: [u8; 6]| Some([&destination[..], &source, &[8, 0], &PACKET4].concat());
        let wifi = LinkType::IEEE802_11;
        assert_eq!(made(wifi, &frame([0x08, 0], &[]), &[]), ethernet(a, b));
        assert_eq!(made(wifi, &frame([0x08, 1], &[]), &[]), ethernet(c, b));
        assert_eq!(made(wifi, &frame([0x08, 2], &[]), &[]), ethernet(a, c));
        assert_eq!(made(wifi, &frame([0x08, 3], &d), &[]), ethernet(c, d));
        assert_eq!(made(wifi, &frame([0x88, 1], &[0, 0]), &[]), ethernet(c, b));
        assert_eq!(made(wifi, &frame([0x88, 0x81], &[0; 6]), &[]), ethernet(c, b));
        assert_eq!(made(wifi, &frame([0x88, 1], &[0x80, 0]), &[]), None, "several in one");
        assert_eq!(made(wifi, &frame([0x08, 0x41], &[]), &[]), None, "protected");
        assert_eq!(made(wifi, &frame([0x48, 1], &[]), &[]), None, "without data");
        assert_eq!(made(wifi, &frame([0x80, 0], &[]), &[]), None, "a beacon");
        let radiotap = [&[0, 0, 10, 0, 0, 0, 0, 0, 7, 7][..], &frame([0x08, 1], &[])].concat();
        assert_eq!(made(LinkType::IEEE802_11_RADIOTAP, &radiotap, &[]), ethernet(c, b));
    }

    #[test]
    fn what_is_not_known_makes_no_frame() {
        assert_eq!(made(LinkType::ETHERNET, &[1, 2, 3], &[]), Some(vec![1, 2, 3]));
        assert_eq!(made(LinkType(195), &[], &PACKET4), None);
        assert_eq!(made(LinkType::RAW, &[], &[]), None);
        assert_eq!(made(LinkType::NULL, &[7, 0, 0, 0], &PACKET4), None);
        assert_eq!(made(LinkType::PPP, &[0xc0, 0x21], &[1]), None, "link control");
        assert_eq!(made(LinkType::PPI, &[0, 0, 8, 0, 192, 0, 0, 0], &PACKET4), None, "PPI within PPI");
        assert_eq!(made(LinkType::LINUX_SLL, &[0; 15], &[4]), None, "802.2 within SLL");
    }

    #[test]
    fn the_longest_frame_stays_the_longest() {
        let mut packet = vec![0; MAX_FRAME];
        packet[..20].copy_from_slice(&PACKET4);
        assert_eq!(made(LinkType::RAW, &packet, &[]).map(|frame| frame.len()), Some(MAX_FRAME));
    }
}
