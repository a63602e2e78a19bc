//! Records out of a capture file, one at a time, in bounded memory.
//!
//! The framing is done here, so that every fault has its place in the file; what is inside a header or block is decoded by
//! `pcap-parser`. Formats: <https://ietf-opsawg-wg.github.io/draft-ietf-opsawg-pcap/>.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::classic::Classic;
use super::pcapng::PcapNg;
use super::window::Window;
use super::{Error, LinkType, MAX_FRAME};
use crate::units::Nanos;

/// The bytes by which the format is told: the header of a pcap file, and less than the first block of a pcapng file.
const START: usize = 24;

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
    /// Records or blocks begun so far.
    records: u64,
    /// Where the current one begins.
    record_at: u64,
    last_time: Nanos,
    truncated: Option<Truncated>,
    ended: bool,
}

enum Format {
    Classic(Classic),
    PcapNg(PcapNg),
}

/// A record that is in the window: the length of all of it, and where in it the frame is.
pub(super) struct Found {
    length: usize,
    data: (usize, usize),
    time: Option<Nanos>,
    link: LinkType,
    wire_len: u32,
}

impl Found {
    /// A record of `length` bytes that has a frame of `caplen` bytes at `from`, if none too long.
    pub(super) fn new(
        length: usize,
        from: usize,
        caplen: u32,
        wire_len: u32,
        time: Option<Nanos>,
        link: LinkType,
    ) -> Result<Found, Stop> {
        let caplen = caplen as usize;
        if caplen > MAX_FRAME {
            return Err(Stop::too_long(caplen));
        }
        Ok(Found { length, data: (from, from + caplen), time, link, wire_len })
    }
}

/// Why there is no further record.
pub(super) enum Stop {
    End,
    Cut,
    Io(io::Error),
    Damage(String),
    NotEthernet(LinkType),
}

impl Stop {
    pub(super) fn too_long(caplen: usize) -> Stop {
        Stop::Damage(format!("a frame of {caplen} bytes, want at most {MAX_FRAME}"))
    }
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
        let whole = window.fill(START).map_err(|source| Error::Io { path: path.to_owned(), action: "read", source })?;
        let format = Format::detect(window.data(), whole)
            .map_err(|fault| Error::NotACapture { path: path.to_owned(), fault })?;
        if matches!(format, Format::Classic(_)) {
            window.consume(START);
        }
        Ok(Capture {
            path: path.to_owned(),
            window,
            format,
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
        let foreign = match &mut self.format {
            Format::Classic(classic) => Some(classic.link()).filter(|link| !link.is_ethernet()),
            Format::PcapNg(pcapng) => pcapng.ethernet_only(),
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
                Format::Classic(classic) => Some(classic.next(&mut self.window)?),
                Format::PcapNg(pcapng) => pcapng.next(&mut self.window)?,
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
    /// What the file is by its first bytes, `whole` if they are enough; otherwise what is wrong.
    fn detect(start: &[u8], whole: bool) -> Result<Format, String> {
        let Some(magic) = start.first_chunk() else {
            return Err(if start.is_empty() { "is empty" } else { "is too short" }.into());
        };
        let known = match u32::from_be_bytes(*magic) {
            0x0a0d_0d0a => Format::PcapNg(PcapNg::default()),
            0xa1b2_c3d4 | 0xd4c3_b2a1 | 0xa1b2_3c4d | 0x4d3c_b2a1 if whole => Format::Classic(Classic::new(start)?),
            0xa1b2_c3d4 | 0xd4c3_b2a1 | 0xa1b2_3c4d | 0x4d3c_b2a1 => return Err("ends within its header".into()),
            other => return Err(format!("begins with {other:08x}")),
        };
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;

    /// A pcap file with the given magic number, in its byte order, of frames of 1, 2, 3… bytes at 1.000005 s, 2.000005 s…
    fn pcap(magic: [u8; 4], frames: u32) -> Vec<u8> {
        let big_endian = magic[0] == 0xa1;
        let word = |word: u32| if big_endian { word.to_be_bytes() } else { word.to_le_bytes() };
        let mut file = magic.to_vec();
        let version = if big_endian { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
        file.extend(version);
        for field in [0, 0, 65_535, 0x3000_0001] {
            file.extend(word(field));
        }
        for n in 1..=frames {
            for field in [n, 5_000, n, 100] {
                file.extend(word(field));
            }
            file.extend(vec![n as u8; n as usize]);
        }
        file
    }

    fn read(bytes: Vec<u8>) -> Result<Capture, Error> {
        Capture::read("test".as_ref(), Box::new(Cursor::new(bytes)))
    }

    #[test]
    fn both_byte_orders_and_both_resolutions_are_read() {
        let micros = [[0xd4, 0xc3, 0xb2, 0xa1], [0xa1, 0xb2, 0xc3, 0xd4]];
        let nanos = [[0x4d, 0x3c, 0xb2, 0xa1], [0xa1, 0xb2, 0x3c, 0x4d]];
        for (magics, fraction) in [(micros, 5_000_000), (nanos, 5_000)] {
            for magic in magics {
                let mut capture = read(pcap(magic, 2)).unwrap();
                for n in [1u8, 2] {
                    let time = Nanos(u64::from(n) * 1_000_000_000 + fraction);
                    let data = &vec![n; usize::from(n)][..];
                    let expected = Record { time, link: LinkType::ETHERNET, data, wire_len: 100 };
                    assert_eq!(capture.next().unwrap(), Some(expected));
                }
                assert_eq!(capture.next().unwrap(), None);
                assert_eq!(capture.truncated(), None);
            }
        }
    }

    #[test]
    fn a_file_cut_short_is_read_up_to_the_cut_and_says_so() {
        let whole = pcap([0xd4, 0xc3, 0xb2, 0xa1], 2);
        let second = 24 + 16 + 1;
        for length in 24..whole.len() {
            let mut capture = read(whole[..length].to_vec()).unwrap();
            let frames = std::iter::from_fn(|| capture.next().unwrap().map(|_| ())).count();
            assert_eq!(frames, usize::from(length >= second));
            let cut = capture.truncated();
            match length {
                24 | 41 => assert_eq!(cut, None),
                _ => assert_eq!(cut.unwrap().offset, if length < second { 24 } else { second as u64 }),
            }
        }
        let mut capture = read(whole[..whole.len() - 1].to_vec()).unwrap();
        while capture.next().unwrap().is_some() {}
        let words = "test: ends within record 2, which begins at byte 41; all before it was read";
        assert_eq!(capture.truncated().unwrap().to_string(), words);
    }

    #[test]
    fn a_frame_too_long_to_be_one_is_damage() {
        let mut file = pcap([0xd4, 0xc3, 0xb2, 0xa1], 2);
        file[41 + 8..41 + 12].copy_from_slice(&(MAX_FRAME as u32 + 1).to_le_bytes());
        let mut capture = read(file).unwrap();
        assert!(capture.next().unwrap().is_some());
        let words = "test: record 2 at byte 41: a frame of 262145 bytes, want at most 262144";
        assert_eq!(capture.next().unwrap_err().to_string(), words);
        assert_eq!(capture.next().unwrap(), None);
    }

    #[test]
    fn a_frame_as_long_as_can_be_is_read() {
        let mut file = pcap([0xd4, 0xc3, 0xb2, 0xa1], 0);
        for field in [1, 0, MAX_FRAME as u32, MAX_FRAME as u32] {
            file.extend(field.to_le_bytes());
        }
        file.resize(file.len() + MAX_FRAME, 1);
        assert_eq!(read(file).unwrap().next().unwrap().unwrap().data, vec![1; MAX_FRAME]);
    }

    #[test]
    fn other_files_are_refused_by_what_they_begin_with() {
        let wants = "want pcap (microseconds or nanoseconds) or pcapng, plain or gzip";
        let header = &pcap([0xd4, 0xc3, 0xb2, 0xa1], 0)[..23];
        for (bytes, fault) in [
            (&b""[..], "is empty"),
            (b"abc", "is too short"),
            (b"#!/bin/sh", "begins with 23212f62"),
            (header, "ends within its header"),
        ] {
            let error = read(bytes.to_vec()).err().expect("not a capture").to_string();
            assert_eq!(error, format!("test: {fault}; {wants}"));
        }
        let error = Capture::open("/".as_ref()).err().expect("a folder").to_string();
        assert!(error.starts_with("/: can't open: "), "{error}");
    }

    #[test]
    fn a_compressed_file_is_read_and_one_cut_short_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pcap.gz");
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(&pcap([0xd4, 0xc3, 0xb2, 0xa1], 2)).unwrap();
        let packed = packed.finish().unwrap();
        std::fs::write(&path, &packed).unwrap();
        let mut capture = Capture::open(&path).unwrap();
        assert_eq!(std::iter::from_fn(|| capture.next().unwrap().map(|_| ())).count(), 2);
        assert!(capture.is_same_file(&path));
        assert!(!capture.is_same_file(folder.path()));

        std::fs::write(&path, &packed[..packed.len() - 4]).unwrap();
        let mut capture = Capture::open(&path).unwrap();
        let mut frames = 0;
        let error = loop {
            match capture.next() {
                Ok(Some(_)) => frames += 1,
                Ok(None) => panic!("the checksum is missing"),
                Err(e) => break e,
            }
        };
        assert!(frames <= 2 && matches!(error, Error::Io { action: "read", .. }), "{error}");
    }
}
