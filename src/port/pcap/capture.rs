//! Records out of a capture file, one at a time, in bounded memory.
//!
//! The framing is done here, so that every fault has its place in the file; what is inside a header or block is decoded by
//! `pcap-parser`. Formats: <https://ietf-opsawg-wg.github.io/draft-ietf-opsawg-pcap/>.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pcap_parser::nom::{self, IResult, Needed};
use pcap_parser::pcapng::{Block, parse_block_be, parse_block_le};
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{InterfaceDescriptionBlock, LegacyPcapBlock, PcapError};

use super::window::Window;
use super::{Error, LinkType, MAX_FRAME};
use crate::units::Nanos;

/// The length of a pcap file header, and of a pcap record header.
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
/// The longest pcapng block that is decoded: a frame and as much again for options.
const MAX_BLOCK: usize = 2 * MAX_FRAME;
/// The longest pcapng block that is passed over.
const MAX_SKIPPED: usize = 16 * 1024 * 1024;
/// The most interfaces of one pcapng section.
const MAX_INTERFACES: usize = 65_536;
/// The latest time that is told, in the year 2262; leaves room to count on.
const LATEST: u128 = i64::MAX as u128;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// One captured frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was captured, since 1970; as in the file, so it may go back. A record without a time has that of the one before.
    pub time: Nanos,
    /// What the bytes begin with.
    pub link: LinkType,
    /// What was captured, at most [`MAX_FRAME`] bytes.
    pub data: &'a [u8],
    /// The length on the wire; never less than the captured bytes.
    pub wire_len: u32,
}

/// The file ends in the middle of a record, which is lost; all before it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// The file.
    pub path: PathBuf,
    /// The number of the cut record, from 1; in pcapng of the block.
    pub record: u64,
    /// Where it begins; in a compressed file, after unpacking.
    pub offset: u64,
}

impl fmt::Display for Truncated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Truncated { path, record, offset } = self;
        write!(
            f,
            "{}: ends within record {record}, which begins at byte {offset}; all before it was read",
            path.display()
        )
    }
}

/// A capture file that is being read: pcap in µs or ns, or pcapng, of either byte order, plain or gzip.
pub struct Capture {
    path: PathBuf,
    window: Window,
    format: Format,
    ethernet_only: bool,
    /// Blocks or records begun so far.
    records: u64,
    /// Where the current one begins.
    record_at: u64,
    last_time: Nanos,
    truncated: Option<Truncated>,
    ended: bool,
}

enum Format {
    Pcap { link: LinkType, nanos: bool, parse: fn(&[u8]) -> Parsed<'_, LegacyPcapBlock<'_>> },
    PcapNg { big_endian: bool, interfaces: Vec<Interface> },
}

type Parsed<'a, T> = IResult<&'a [u8], T, PcapError<&'a [u8]>>;

/// A record found in the window: the length of all of it, and where in it the frame is.
struct Found {
    length: usize,
    data: (usize, usize),
    time: Option<Nanos>,
    link: LinkType,
    wire_len: u32,
}

/// Why there is no further record.
enum Stop {
    End,
    Cut,
    Io(io::Error),
    Damage(String),
    NotEthernet(LinkType),
}

impl From<io::Error> for Stop {
    fn from(e: io::Error) -> Stop {
        Stop::Io(e)
    }
}

impl Capture {
    /// Opens the capture at `path` and reads its header.
    ///
    /// # Errors
    ///
    /// If the file can't be read or isn't a capture.
    pub fn open(path: &Path) -> Result<Capture, Error> {
        let failed = |source| Error::Io { path: path.to_owned(), action: "open", source };
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let mut plain = BufReader::new(file);
        let gzip = plain.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
        let source: Box<dyn Read + Send> =
            if gzip { Box::new(flate2::bufread::MultiGzDecoder::new(plain)) } else { Box::new(plain) };
        Capture::read(path, source)
    }

    /// Reads a capture from `source`, which is not compressed; `path` names it in messages.
    ///
    /// # Errors
    ///
    /// If the source can't be read or isn't a capture.
    pub fn read(path: &Path, source: Box<dyn Read + Send>) -> Result<Capture, Error> {
        let mut window = Window::new(source);
        let whole =
            window.fill(FILE_HEADER).map_err(|source| Error::Io { path: path.to_owned(), action: "read", source })?;
        let format = Format::detect(window.data(), whole)
            .map_err(|fault| Error::NotACapture { path: path.to_owned(), fault })?;
        if matches!(format, Format::Pcap { .. }) {
            window.consume(FILE_HEADER);
        }
        Ok(Capture {
            path: path.to_owned(),
            window,
            format,
            ethernet_only: false,
            records: 0,
            record_at: 0,
            last_time: Nanos::ZERO,
            truncated: None,
            ended: false,
        })
    }

    /// From now on, refuses link types other than Ethernet, as soon as the file names one.
    ///
    /// # Errors
    ///
    /// If the file has already named one.
    pub fn ethernet_only(&mut self) -> Result<(), Error> {
        self.ethernet_only = true;
        let foreign = match &self.format {
            Format::Pcap { link, .. } => Some(*link).filter(|link| !link.is_ethernet()),
            Format::PcapNg { interfaces, .. } => interfaces.iter().map(|i| i.link).find(|link| !link.is_ethernet()),
        };
        foreign.map_or(Ok(()), |link| Err(Error::NotEthernet { path: self.path.clone(), link }))
    }

    /// The next record, or `None` at the end of the file; look at [`Capture::truncated`] then.
    ///
    /// # Errors
    ///
    /// At the first damage, beyond which nothing more is read.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, Error> {
        if self.ended {
            return Ok(None);
        }
        let found = match self.find() {
            Ok(found) => found,
            Err(stop) => {
                self.ended = true;
                return self.stopped(stop).map(|()| None);
            }
        };
        self.last_time = found.time.unwrap_or(self.last_time);
        let (from, to) = found.data;
        let data = &self.window.consume(found.length)[from..to];
        let wire_len = found.wire_len.max(data.len() as u32);
        Ok(Some(Record { time: self.last_time, link: found.link, data, wire_len }))
    }

    /// Where the file was cut short, if [`Capture::next`] found it so.
    pub fn truncated(&self) -> Option<&Truncated> {
        self.truncated.as_ref()
    }

    /// The path given at [`Capture::open`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether `other` is the very file that is read here, under whatever name.
    pub fn is_same_file(&self, other: &Path) -> bool {
        match (std::fs::metadata(&self.path), std::fs::metadata(other)) {
            (Ok(a), Ok(b)) => a.is_file() && a.dev() == b.dev() && a.ino() == b.ino(),
            _ => false,
        }
    }

    /// Brings the next record into the window whole.
    fn find(&mut self) -> Result<Found, Stop> {
        loop {
            self.record_at = self.window.offset();
            if !self.window.fill(1)? {
                return Err(Stop::End);
            }
            self.records += 1;
            let found = match &mut self.format {
                Format::Pcap { link, nanos, parse } => Some(pcap_record(&mut self.window, *link, *nanos, *parse)?),
                Format::PcapNg { big_endian, interfaces } => {
                    pcapng_block(&mut self.window, big_endian, interfaces, self.ethernet_only)?
                }
            };
            if let Some(found) = found {
                return Ok(found);
            }
        }
    }

    fn stopped(&mut self, stop: Stop) -> Result<(), Error> {
        let path = self.path.clone();
        let (record, offset) = (self.records, self.record_at);
        match stop {
            Stop::End => Ok(()),
            Stop::Cut => {
                self.truncated = Some(Truncated { path, record, offset });
                Ok(())
            }
            Stop::Io(source) => Err(Error::Io { path, action: "read", source }),
            Stop::Damage(fault) => Err(Error::Damaged { path, record, offset, fault }),
            Stop::NotEthernet(link) => Err(Error::NotEthernet { path, link }),
        }
    }
}

impl Format {
    /// What the file is by its first bytes; `whole` if there are enough for a header. Otherwise what is wrong.
    fn detect(start: &[u8], whole: bool) -> Result<Format, String> {
        let Some(magic) = start.first_chunk::<4>() else {
            return Err(if start.is_empty() { "the file is empty".into() } else { "the file is too short".into() });
        };
        let number = u32::from_be_bytes(*magic);
        if !matches!(number, SECTION_HEADER | 0xa1b2_c3d4 | 0xd4c3_b2a1 | 0xa1b2_3c4d | 0x4d3c_b2a1) {
            return Err(format!("begins with {number:08x}"));
        }
        if !whole {
            return Err("ends within its header".into());
        }
        if number == SECTION_HEADER {
            return Ok(Format::PcapNg { big_endian: false, interfaces: Vec::new() });
        }
        let (_, header) = pcap_parser::parse_pcap_header(start).map_err(|e| format!("has a bad header ({e})"))?;
        Ok(Format::Pcap {
            // The upper four bits tell of frame check sequences.
            link: LinkType(header.network.0 as u32 & 0x0fff_ffff),
            nanos: header.is_nanosecond_precision(),
            parse: if header.is_bigendian() { pcap_parser::parse_pcap_frame_be } else { pcap_parser::parse_pcap_frame },
        })
    }
}

/// Brings one pcap record into the window whole.
fn pcap_record(
    window: &mut Window,
    link: LinkType,
    nanos: bool,
    parse: fn(&[u8]) -> Parsed<'_, LegacyPcapBlock<'_>>,
) -> Result<Found, Stop> {
    loop {
        let seen = window.data().len();
        let length = match parse(window.data()) {
            Ok((_, record)) => {
                let caplen = record.caplen as usize;
                if caplen > MAX_FRAME {
                    return Err(too_long(caplen));
                }
                let fraction = u128::from(record.ts_usec) * if nanos { 1 } else { 1_000 };
                return Ok(Found {
                    length: RECORD_HEADER + caplen,
                    data: (RECORD_HEADER, RECORD_HEADER + caplen),
                    time: Some(instant(u128::from(record.ts_sec) * 1_000_000_000 + fraction)),
                    link,
                    wire_len: record.origlen,
                });
            }
            Err(nom::Err::Incomplete(Needed::Size(more))) => seen + more.get(),
            Err(e) => return Err(Stop::Damage(format!("can't be decoded ({e})"))),
        };
        if length > RECORD_HEADER + MAX_FRAME {
            return Err(too_long(length - RECORD_HEADER));
        }
        if !window.fill(length)? {
            return Err(Stop::Cut);
        }
    }
}

/// How one interface of a pcapng section counts time.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: LinkType,
    snaplen: u32,
    /// The exponent, and in the top bit whether of 2 or of 10.
    resolution: u8,
    offset_seconds: i64,
}

impl Interface {
    fn new(block: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> Interface {
        Interface {
            link: LinkType(block.linktype.0 as u32),
            snaplen: block.snaplen,
            resolution: block.if_tsresol,
            // The parser reads this option as little-endian always.
            offset_seconds: if big_endian { block.if_tsoffset.swap_bytes() } else { block.if_tsoffset },
        }
    }

    fn time(&self, ticks: u64) -> Nanos {
        let exponent = u32::from(self.resolution & 0x7f);
        let per_second =
            if self.resolution & 0x80 != 0 { Some(1u128 << exponent) } else { 10u128.checked_pow(exponent) };
        // More than 10^38 ticks make a second: 64 bits of them are no time at all.
        let nanos = per_second.map_or(0, |per_second| u128::from(ticks) * 1_000_000_000 / per_second);
        let offset = u128::from(self.offset_seconds.unsigned_abs()) * 1_000_000_000;
        instant(if self.offset_seconds < 0 { nanos.saturating_sub(offset) } else { nanos + offset })
    }
}

/// Brings one pcapng block into the window if it has a packet, else takes in what it says and moves on.
fn pcapng_block(
    window: &mut Window,
    big_endian: &mut bool,
    interfaces: &mut Vec<Interface>,
    ethernet_only: bool,
) -> Result<Option<Found>, Stop> {
    if !window.fill(12)? {
        return Err(Stop::Cut);
    }
    let start = window.data();
    if word(start, 0, true) == SECTION_HEADER {
        *big_endian = match word(start, 8, true) {
            0x1a2b_3c4d => true,
            0x4d3c_2b1a => false,
            other => {
                return Err(Stop::Damage(format!("a section with the byte-order mark {other:08x}, want 1a2b3c4d")));
            }
        };
        interfaces.clear();
    }
    let (kind, length) = (word(start, 0, *big_endian), word(start, 4, *big_endian) as usize);
    if length < 12 || length % 4 != 0 {
        return Err(Stop::Damage(format!("a block of {length} bytes, want a multiple of 4 from 12 on")));
    }
    let decoded = matches!(kind, SECTION_HEADER | INTERFACE_DESCRIPTION | SIMPLE_PACKET | ENHANCED_PACKET);
    let limit = if decoded { MAX_BLOCK } else { MAX_SKIPPED };
    if length > limit {
        return Err(Stop::Damage(format!("a block of {length} bytes, want at most {limit}")));
    }
    if kind == OLD_PACKET {
        return Err(Stop::Damage("a packet block of the obsolete kind; convert the file with editcap".into()));
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
    match decode(block, *big_endian)? {
        Block::EnhancedPacket(packet) => {
            let interface = interface(interfaces, packet.if_id)?;
            let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
            found(length, 28, packet.caplen, packet.origlen, Some(interface.time(ticks)), interface.link).map(Some)
        }
        Block::SimplePacket(packet) => {
            let interface = interface(interfaces, 0)?;
            let snaplen = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
            let caplen = packet.orig_len().min(snaplen).min(length as u32 - 16);
            found(length, 12, caplen, packet.orig_len(), None, interface.link).map(Some)
        }
        Block::InterfaceDescription(description) => {
            let interface = Interface::new(&description, *big_endian);
            if ethernet_only && !interface.link.is_ethernet() {
                return Err(Stop::NotEthernet(interface.link));
            }
            if interfaces.len() == MAX_INTERFACES {
                return Err(Stop::Damage(format!("more than {MAX_INTERFACES} interfaces in a section")));
            }
            interfaces.push(interface);
            window.consume(length);
            Ok(None)
        }
        _ => {
            window.consume(length);
            Ok(None)
        }
    }
}

fn decode(block: &[u8], big_endian: bool) -> Result<Block<'_>, Stop> {
    let parse = if big_endian { parse_block_be } else { parse_block_le };
    match parse(block) {
        Ok((_, block)) => Ok(block),
        Err(nom::Err::Incomplete(_)) => Err(Stop::Damage(format!("more in a block than its {} bytes", block.len()))),
        // The parser's own words would print the whole block.
        Err(_) => Err(Stop::Damage(format!("a block of {} bytes that doesn't hold together", block.len()))),
    }
}

fn interface(interfaces: &[Interface], index: u32) -> Result<&Interface, Stop> {
    interfaces
        .get(index as usize)
        .ok_or_else(|| Stop::Damage(format!("a packet of interface {index}, but the section has {}", interfaces.len())))
}

fn found(
    length: usize,
    from: usize,
    caplen: u32,
    wire_len: u32,
    time: Option<Nanos>,
    link: LinkType,
) -> Result<Found, Stop> {
    let caplen = caplen as usize;
    if caplen > MAX_FRAME {
        return Err(too_long(caplen));
    }
    Ok(Found { length, data: (from, from + caplen), time, link, wire_len })
}

fn too_long(caplen: usize) -> Stop {
    Stop::Damage(format!("a frame of {caplen} bytes, want at most {MAX_FRAME}"))
}

fn instant(nanos: u128) -> Nanos {
    Nanos(nanos.min(LATEST) as u64)
}

fn word(bytes: &[u8], at: usize, big_endian: bool) -> u32 {
    let word: [u8; 4] = bytes[at..at + 4].try_into().expect("four bytes");
    if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
}
