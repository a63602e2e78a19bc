//! The pcapng format: blocks, in sections that each have a byte order and a list of interfaces.

use pcap_parser::nom;
use pcap_parser::pcapng::{Block, parse_block_be, parse_block_le};
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{InterfaceDescriptionBlock, SimplePacketBlock};

use super::capture::{Found, Stop};
use super::window::Window;
use super::{LinkType, MAX_FRAME};
use crate::units::Nanos;

/// The longest block that is decoded: a frame and as much again for options.
const MAX_BLOCK: usize = 2 * MAX_FRAME;
/// The longest block that is passed over.
const MAX_SKIPPED: usize = 16 * 1024 * 1024;
/// The most interfaces of one section.
const MAX_INTERFACES: usize = 65_536;
/// The latest time that is told, in the year 2262; leaves room to count on.
const LATEST: u128 = i64::MAX as u128;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// How the blocks of the current section are to be read.
#[derive(Default)]
pub(super) struct PcapNg {
    big_endian: bool,
    interfaces: Vec<Interface>,
    ethernet_only: bool,
}

impl PcapNg {
    /// From now on, refuses interfaces of other link types; returns that of one that is there already.
    pub(super) fn ethernet_only(&mut self) -> Option<LinkType> {
        self.ethernet_only = true;
        self.interfaces.iter().map(|interface| interface.link).find(|link| !link.is_ethernet())
    }

    /// Brings the next block into the window if it has a packet, else takes in what it says and moves on.
    pub(super) fn next(&mut self, window: &mut Window) -> Result<Option<Found>, Stop> {
        let (kind, length) = self.header(window)?;
        let decoded = match kind {
            SECTION_HEADER | INTERFACE_DESCRIPTION | SIMPLE_PACKET | ENHANCED_PACKET => true,
            OLD_PACKET => {
                return Err(Stop::Damage("a packet block of the obsolete kind; convert the file with editcap".into()));
            }
            _ => false,
        };
        let limit = if decoded { MAX_BLOCK } else { MAX_SKIPPED };
        if length > limit {
            return Err(Stop::Damage(format!("a block of {length} bytes, want at most {limit}")));
        }
        if !decoded {
            return if window.skip(length)? { Ok(None) } else { Err(Stop::Cut) };
        }
        if !window.fill(length)? {
            return Err(Stop::Cut);
        }
        // The length at the end of a block is for reading backwards: a wrong one is no reason to lose the packet.
        let block = &mut window.data_mut()[..length];
        block.copy_within(4..8, length - 4);
        let found = self.block(block)?;
        if found.is_none() {
            window.consume(length);
        }
        Ok(found)
    }

    /// The kind and length of the next block, which opens a new section if it is a section header.
    fn header(&mut self, window: &mut Window) -> Result<(u32, usize), Stop> {
        if !window.fill(12)? {
            return Err(Stop::Cut);
        }
        let start = window.data();
        if word(start, 0, true) == SECTION_HEADER {
            self.big_endian = match word(start, 8, true) {
                0x1a2b_3c4d => true,
                0x4d3c_2b1a => false,
                other => return Err(Stop::Damage(format!("a section with byte order {other:08x}, want 1a2b3c4d"))),
            };
            self.interfaces.clear();
        }
        let length = word(start, 4, self.big_endian) as usize;
        if length < 12 || !length.is_multiple_of(4) {
            return Err(Stop::Damage(format!("a block of {length} bytes, want a multiple of 4 from 12 on")));
        }
        Ok((word(start, 0, self.big_endian), length))
    }

    /// Takes in a whole block.
    fn block(&mut self, block: &[u8]) -> Result<Option<Found>, Stop> {
        let length = block.len();
        match decode(block, self.big_endian)? {
            Block::EnhancedPacket(packet) => {
                let interface = self.interface(packet.if_id)?;
                let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let time = Some(interface.time(ticks));
                Found::new(length, 28, packet.caplen, packet.origlen, time, interface.link).map(Some)
            }
            Block::SimplePacket(packet) => {
                let interface = self.interface(0)?;
                let caplen = interface.caplen(&packet);
                Found::new(length, 12, caplen, packet.origlen, None, interface.link).map(Some)
            }
            Block::InterfaceDescription(description) => {
                let interface = Interface::new(&description, self.big_endian);
                if self.ethernet_only && !interface.link.is_ethernet() {
                    return Err(Stop::NotEthernet(interface.link));
                }
                if self.interfaces.len() == MAX_INTERFACES {
                    return Err(Stop::Damage(format!("more than {MAX_INTERFACES} interfaces in a section")));
                }
                self.interfaces.push(interface);
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn interface(&self, index: u32) -> Result<&Interface, Stop> {
        let known = self.interfaces.len();
        self.interfaces
            .get(index as usize)
            .ok_or_else(|| Stop::Damage(format!("a packet of interface {index}, but the section has named {known}")))
    }
}

/// What one interface of a section captures, and how it counts time.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: LinkType,
    snaplen: u32,
    /// The exponent of the ticks per second, and in the top bit whether of 2 instead of 10.
    resolution: u8,
    offset_seconds: i64,
}

impl Interface {
    fn new(block: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> Interface {
        Interface {
            link: LinkType(block.linktype.0 as u32),
            snaplen: block.snaplen,
            resolution: block.if_tsresol,
            // The parser takes this option for little-endian always.
            offset_seconds: if big_endian { block.if_tsoffset.swap_bytes() } else { block.if_tsoffset },
        }
    }

    fn time(&self, ticks: u64) -> Nanos {
        let exponent = u32::from(self.resolution & 0x7f);
        let binary = self.resolution & 0x80 != 0;
        let per_second = if binary { Some(1u128 << exponent) } else { 10u128.checked_pow(exponent) };
        // With more than 10^38 ticks in a second, 64 bits of them are no time at all.
        let nanos = per_second.map_or(0, |per_second| u128::from(ticks) * 1_000_000_000 / per_second);
        let offset = u128::from(self.offset_seconds.unsigned_abs()) * 1_000_000_000;
        let nanos = if self.offset_seconds < 0 { nanos.saturating_sub(offset) } else { nanos + offset };
        Nanos(nanos.min(LATEST) as u64)
    }

    /// A simple packet doesn't say how much of it was captured; its block is padded.
    fn caplen(&self, packet: &SimplePacketBlock<'_>) -> u32 {
        let snaplen = if self.snaplen == 0 { u32::MAX } else { self.snaplen };
        packet.origlen.min(snaplen).min(packet.raw_packet_data().len() as u32)
    }
}

fn decode(block: &[u8], big_endian: bool) -> Result<Block<'_>, Stop> {
    let parse = if big_endian { parse_block_be } else { parse_block_le };
    match parse(block) {
        Ok((_, block)) => Ok(block),
        Err(nom::Err::Incomplete(_)) => {
            Err(Stop::Damage(format!("a block whose {} bytes are too few for what it says it has", block.len())))
        }
        // The parser's own words would print the whole block.
        Err(_) => Err(Stop::Damage(format!("a block of {} bytes that doesn't hold together", block.len()))),
    }
}

fn word(bytes: &[u8], at: usize, big_endian: bool) -> u32 {
    let word: [u8; 4] = bytes[at..at + 4].try_into().expect("four bytes");
    if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::pcap::{Capture, Error, Record};

    /// Writes blocks in either byte order.
    struct Blocks {
        big_endian: bool,
        bytes: Vec<u8>,
    }

    impl Blocks {
        fn new(big_endian: bool) -> Blocks {
            let mut blocks = Blocks { big_endian, bytes: Vec::new() };
            blocks.section();
            blocks
        }

        fn word(&self, word: u32) -> [u8; 4] {
            if self.big_endian { word.to_be_bytes() } else { word.to_le_bytes() }
        }

        fn half(&self, half: u16) -> [u8; 2] {
            if self.big_endian { half.to_be_bytes() } else { half.to_le_bytes() }
        }

        fn put(&mut self, kind: u32, body: &[u8]) {
            let length = self.word(12 + body.len().next_multiple_of(4) as u32);
            self.bytes.extend(self.word(kind));
            self.bytes.extend(length);
            self.bytes.extend(body);
            self.bytes.resize(self.bytes.len().next_multiple_of(4), 0xee);
            self.bytes.extend(length);
        }

        fn section(&mut self) {
            let body = [&self.word(0x1a2b_3c4d)[..], &self.half(1), &self.half(0), &[0xff; 8]].concat();
            self.put(SECTION_HEADER, &body);
        }

        fn interface(&mut self, link: u16, snaplen: u32, resolution: u8, offset: i64) {
            let offset = if self.big_endian { offset.to_be_bytes() } else { offset.to_le_bytes() };
            let mut body = [&self.half(link)[..], &[0; 2], &self.word(snaplen)].concat();
            body.extend([&self.half(9)[..], &self.half(1), &[resolution, 0, 0, 0]].concat());
            body.extend([&self.half(14)[..], &self.half(8), &offset].concat());
            body.extend([0; 4]);
            self.put(INTERFACE_DESCRIPTION, &body);
        }

        fn enhanced(&mut self, interface: u32, ticks: u64, data: &[u8], wire_len: u32) {
            let words = [interface, (ticks >> 32) as u32, ticks as u32, data.len() as u32, wire_len];
            let body = [words.map(|word| self.word(word)).concat(), data.to_vec()].concat();
            self.put(ENHANCED_PACKET, &body);
        }

        fn simple(&mut self, data: &[u8], wire_len: u32) {
            let body = [&self.word(wire_len)[..], data].concat();
            self.put(SIMPLE_PACKET, &body);
        }

        fn open(self) -> Capture {
            Capture::read("test".as_ref(), Box::new(std::io::Cursor::new(self.bytes))).expect("a section header")
        }
    }

    fn record(time: u64, link: u32, data: &[u8], wire_len: u32) -> Record<'_> {
        Record { time: Nanos(time), link: LinkType(link), data, wire_len }
    }

    #[test]
    fn time_is_counted_in_the_unit_of_the_interface() {
        for big_endian in [false, true] {
            let mut blocks = Blocks::new(big_endian);
            blocks.interface(1, 0, 6, 0);
            blocks.interface(1, 0, 9, -1);
            blocks.interface(113, 0, 0x80 | 10, 2);
            blocks.interface(1, 0, 0xff, 0);
            blocks.interface(1, 0, 0x7f, i64::MAX);
            for interface in 0..5 {
                blocks.enhanced(interface, 5_000_000_512, &[7; 5], 1500);
            }
            let mut capture = blocks.open();
            let mut next = || capture.next().unwrap().map(|r| (r.time, r.link, r.data.to_vec(), r.wire_len));
            let expected = [
                (5_000_000_512_000, 1),
                (4_000_000_512, 1),
                (5_000_000_512u64 * 1_000_000_000 / 1024 + 2_000_000_000, 113),
                (0, 1),
                (i64::MAX as u64, 1),
            ];
            for (time, link) in expected {
                assert_eq!(next(), Some((Nanos(time), LinkType(link), vec![7; 5], 1500)));
            }
            assert_eq!(next(), None);
        }
    }

    #[test]
    fn a_simple_packet_ends_at_the_snap_length_and_has_the_time_before() {
        let mut blocks = Blocks::new(true);
        blocks.interface(1, 5, 6, 0);
        blocks.enhanced(0, 3, &[1; 4], 4);
        blocks.simple(&[2; 5], 9);
        blocks.simple(&[3; 2], 2);
        let mut capture = blocks.open();
        assert_eq!(capture.next().unwrap(), Some(record(3000, 1, &[1; 4], 4)));
        assert_eq!(capture.next().unwrap(), Some(record(3000, 1, &[2; 5], 9)));
        assert_eq!(capture.next().unwrap(), Some(record(3000, 1, &[3; 2], 2)));
        assert_eq!(capture.next().unwrap(), None);
    }

    #[test]
    fn a_section_forgets_interfaces_and_may_change_the_byte_order() {
        let mut blocks = Blocks::new(false);
        blocks.interface(1, 0, 6, 0);
        blocks.put(0x0000_0bad, &vec![1; 3_000_000]);
        blocks.enhanced(0, 1, &[1], 1);
        blocks.big_endian = true;
        blocks.section();
        blocks.interface(101, 0, 6, 0);
        blocks.enhanced(0, 2, &[2], 1);
        blocks.enhanced(1, 3, &[3], 1);
        blocks.enhanced(0, 4, &[4], 1);
        let mut capture = blocks.open();
        assert_eq!(capture.next().unwrap(), Some(record(1000, 1, &[1], 1)));
        assert_eq!(capture.next().unwrap(), Some(record(2000, 101, &[2], 1)));
        let fault = capture.next().unwrap_err().to_string();
        assert_eq!(fault, "test: record 8 at byte 3000228: a packet of interface 1, but the section has named 1");
        assert_eq!(capture.next().unwrap(), None, "nothing is read beyond damage");
    }

    #[test]
    fn blocks_that_lie_about_their_length_are_damage() {
        type Damage = fn(&mut Blocks);
        let faults: [(Damage, &str); 4] = [
            (|b| b.bytes.extend([6, 0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0, 0]), "a block of 13 bytes"),
            (
                |b| b.bytes.extend([6, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0]),
                "a block of 1048576 bytes, want at most 524288",
            ),
            (
                |b| b.put(ENHANCED_PACKET, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0, 1, 1]),
                "too few",
            ),
            (|b| b.put(OLD_PACKET, &[0; 20]), "obsolete"),
        ];
        for (damage, words) in faults {
            let mut blocks = Blocks::new(false);
            blocks.interface(1, 0, 6, 0);
            blocks.enhanced(0, 1, &[1], 1);
            damage(&mut blocks);
            let mut capture = blocks.open();
            assert!(capture.next().unwrap().is_some());
            let fault = capture.next().unwrap_err().to_string();
            assert!(fault.starts_with("test: record 4 at byte ") && fault.contains(words), "{fault}");
        }
    }

    #[test]
    fn ethernet_only_refuses_an_interface_as_soon_as_it_is_named() {
        let mut blocks = Blocks::new(false);
        blocks.interface(1, 0, 6, 0);
        blocks.enhanced(0, 1, &[1], 1);
        blocks.interface(113, 0, 6, 0);
        blocks.enhanced(0, 1, &[1], 1);
        let mut capture = blocks.open();
        capture.ethernet_only().expect("none is named yet");
        assert!(capture.next().unwrap().is_some());
        assert!(matches!(capture.next(), Err(Error::NotEthernet { link: LinkType::LINUX_SLL, .. })));
    }
}
