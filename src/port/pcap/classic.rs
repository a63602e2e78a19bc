//! The pcap format: a file header, and before each frame a header of 16 bytes.

use pcap_parser::nom::{self, Needed};
use pcap_parser::{parse_pcap_frame, parse_pcap_frame_be, parse_pcap_header};

use super::capture::{Found, Stop};
use super::window::Window;
use super::{LinkType, MAX_FRAME};
use crate::units::Nanos;

/// The length of a record header.
const HEADER: usize = 16;

/// How the records of one pcap file are to be read.
pub(super) struct Classic {
    link: LinkType,
    nanos: bool,
    big_endian: bool,
}

impl Classic {
    /// Reads the file header at the front of `start`.
    pub(super) fn new(start: &[u8]) -> Result<Classic, String> {
        let (_, header) = parse_pcap_header(start).map_err(|_| "has a bad header")?;
        Ok(Classic {
            // The upper four bits tell of frame check sequences.
            link: LinkType(header.network.0 as u32 & 0x0fff_ffff),
            nanos: header.is_nanosecond_precision(),
            big_endian: header.is_bigendian(),
        })
    }

    /// The link type of all records.
    pub(super) fn link(&self) -> LinkType {
        self.link
    }

    /// Brings the next record into the window whole.
    pub(super) fn next(&self, window: &mut Window) -> Result<Found, Stop> {
        let parse = if self.big_endian { parse_pcap_frame_be } else { parse_pcap_frame };
        loop {
            let seen = window.data().len();
            let length = match parse(window.data()) {
                Ok((_, record)) => {
                    let length = HEADER + record.data.len();
                    let time = Some(self.time(record.ts_sec, record.ts_usec));
                    return Found::new(length, HEADER, record.caplen, record.origlen, time, self.link);
                }
                Err(nom::Err::Incomplete(Needed::Size(more))) => seen + more.get(),
                Err(_) => return Err(Stop::Damage("a record that doesn't hold together".into())),
            };
            if length > HEADER + MAX_FRAME {
                return Err(Stop::too_long(length - HEADER));
            }
            if !window.fill(length)? {
                return Err(Stop::Cut);
            }
        }
    }

    /// A fraction of more than a second is taken at its word.
    fn time(&self, seconds: u32, fraction: u32) -> Nanos {
        Nanos(u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * if self.nanos { 1 } else { 1_000 })
    }
}
