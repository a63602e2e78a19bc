//! Captures: pcap and pcapng files read, written, and replayed through the datapath in virtual time.

// Records out of a file, one at a time, in bounded memory.
mod capture;
// The pcap format.
mod classic;
// Captured link layers, and the Ethernet frames that stand for them.
mod link;
// The pcapng format.
mod pcapng;
// Two ports over one capture.
mod replay;
// Which side a captured frame came in by.
mod sides;
// A part of a file in memory, that moves on.
mod window;
// Frames into a file.
mod writer;

use std::io;
use std::path::PathBuf;

pub use capture::{Capture, Record, Truncated};
pub use link::LinkType;
pub use replay::{PcapRx, PcapTx, Replay, ReplaySetup, Summary};
pub use sides::MacPairs;
pub use writer::Writer;

/// The longest frame read from a capture, in bytes; records that claim more are taken for damage, as libpcap does.
pub const MAX_FRAME: usize = 256 * 1024;

/// Why a capture could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system said no, or a compressed file doesn't unpack.
    #[error("{}: can't {action}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The answer.
        source: io::Error,
    },
    /// The file is of another kind.
    #[error("{}: {fault}; want pcap (microseconds or nanoseconds) or pcapng, plain or gzip", path.display())]
    NotACapture {
        /// The file.
        path: PathBuf,
        /// What it begins with.
        fault: String,
    },
    /// The file is damaged from here on; what came before was read.
    #[error("{}: record {record} at byte {offset}: {fault}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The number of the record, from 1; in pcapng of the block.
        record: u64,
        /// Where it begins; in a compressed file, after unpacking.
        offset: u64,
        /// What was got, and what was wanted.
        fault: String,
    },
    /// The capture has frames that can be classified but not written back.
    #[error("{}: has {link} frames, and only Ethernet can be written back; leave out the output file to classify only", path.display())]
    NotEthernet {
        /// The file.
        path: PathBuf,
        /// The first link type that is not Ethernet.
        link: LinkType,
    },
    /// Writing the output would destroy the input.
    #[error("{}: is the capture that is read; name another output file", path.display())]
    SameFile {
        /// The file.
        path: PathBuf,
    },
}
