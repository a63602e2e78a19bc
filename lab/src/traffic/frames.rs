//! Raw frames, through libpcap: read from captures, injected at an interface, captured at another. libpcap puts VLAN tags
//! that the kernel reports beside the frame back to their place.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pcap::{Active, Capture, Direction, Linktype, Packet, PacketHeader};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{parse_report, report, say_ready, until_input_closes};
use crate::clock;
use crate::command::Process;
use crate::netns::{Host, START_LIMIT};

/// The shortest frame that a host can send: an Ethernet header.
pub const SHORTEST: usize = 14;
/// The longest frame of a wire with an MTU of 1500.
pub const LONGEST: usize = 1514;
/// What a capture keeps of each frame: more than the longest, since each takes its place in the kernel's buffer.
const SNAP: i32 = 2048;
/// What the kernel keeps for a capture: it must never be the place of the loss.
const CAPTURE_BUFFER: i32 = 128 << 20;
/// The same for a sender, which never looks at what comes in.
const SEND_SNAP: i32 = 64;
const SEND_BUFFER: i32 = 64 << 10;
/// How often an idle capture looks again.
const LOOK: u64 = 1_000_000;
/// A capture ends when nothing came for this long after it was told to end.
const LINGER: u64 = 500_000_000;

/// What a capture reports.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Captured {
    /// Frames written to the file.
    pub frames: u64,
    /// Frames that came but found no room in the capture's buffer.
    pub missed: u64,
}

/// What an injection reports.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Injected {
    /// Frames that the kernel took.
    pub sent: u64,
    /// The places of those that it refused, with its words.
    pub refused: Vec<(usize, String)>,
}

/// The frames of an Ethernet capture file, in order, up to its end or its first fault; nothing for other link types.
pub fn read(path: &Path) -> Result<Vec<Vec<u8>>> {
    let mut file = match Capture::from_file(path) {
        Ok(file) if file.get_datalink() == Linktype::ETHERNET => file,
        // Not Ethernet, or broken from its first byte: nothing to inject.
        Ok(_) | Err(_) => return Ok(Vec::new()),
    };
    let mut frames = Vec::new();
    while let Ok(packet) = file.next_packet() {
        frames.push(packet.data.to_vec());
    }
    Ok(frames)
}

/// Writes `frames` to a capture file.
pub fn write<'a>(path: &Path, frames: impl IntoIterator<Item = &'a [u8]>) -> Result<()> {
    let mut file = Capture::dead(Linktype::ETHERNET)?.savefile(path)?;
    for data in frames {
        let ts = libc::timeval { tv_sec: 0, tv_usec: 0 };
        let length = data.len() as u32;
        file.write(&Packet { header: &PacketHeader { ts, caplen: length, len: length }, data });
    }
    Ok(file.flush()?)
}

/// Sends the frames of the capture file at `path` from `host`, `per_second` of them, and waits until all are sent.
pub fn inject_from(host: &Host, path: &Path, per_second: u64, limit: Duration) -> Result<Injected> {
    let helper = host.helper(format!("inject --per-second {per_second}")).arg(path.to_string_lossy());
    parse_report(&helper.spawn()?.wait(limit)?)
}

/// A capture in progress at a host's `eth0`.
#[derive(Debug)]
pub struct Tap {
    process: Process,
    folder: TempDir,
}

impl Tap {
    /// Starts to capture all that comes in at `host`.
    pub fn start(host: &Host) -> Result<Tap> {
        let folder = tempfile::tempdir()?;
        let mut process = host.helper("capture").arg(folder.path().join(FILE).to_string_lossy()).spawn()?;
        process.wait_for(super::READY, START_LIMIT)?;
        Ok(Tap { process, folder })
    }

    /// Ends the capture once nothing has come for half a second, and gives its frames in order; an error if the capture
    /// itself missed any.
    pub fn finish(mut self) -> Result<Vec<Vec<u8>>> {
        let captured: Captured = parse_report(&self.process.finish(START_LIMIT)?)?;
        if captured.missed > 0 {
            bail!("the capture had no room for {} frames: the run is void", captured.missed);
        }
        let frames = read(&self.folder.path().join(FILE))?;
        if frames.len() as u64 != captured.frames {
            bail!("the capture wrote {} frames but its file holds {}", captured.frames, frames.len());
        }
        Ok(frames)
    }
}

/// The name of a tap's capture file.
const FILE: &str = "tap.pcap";

/// The body of `tidegate-lab inject`.
pub fn inject(path: &Path, per_second: u64) -> Result<()> {
    let frames = read(path)?;
    let mut wire = open_to_send()?;
    let interval = 1_000_000_000 / per_second.max(1);
    let (start, mut refused) = (clock::now(), Vec::new());
    clock::sharpen();
    for (index, frame) in frames.iter().enumerate() {
        clock::sleep_until(start + index as u64 * interval);
        if let Err(error) = wire.sendpacket(frame.as_slice()) {
            refused.push((index, error.to_string()));
        }
    }
    report(&Injected { sent: (frames.len() - refused.len()) as u64, refused })
}

/// The body of `tidegate-lab capture`: writes what comes in at `eth0` to `path`, until nothing has come for half a second
/// after its standard input closed.
pub fn capture(path: &Path) -> Result<()> {
    let mut wire = open()?.setnonblock()?;
    wire.direction(Direction::In)?;
    let mut file = wire.savefile(path)?;
    let closed = until_input_closes();
    say_ready()?;
    let mut last = clock::now();
    let mut frames = 0;
    while !closed.load(Ordering::Relaxed) || clock::now() < last + LINGER {
        match wire.next_packet() {
            Ok(packet) => {
                file.write(&packet);
                frames += 1;
                last = clock::now();
            }
            Err(pcap::Error::TimeoutExpired) => clock::sleep_until(clock::now() + LOOK),
            Err(error) => return Err(error).context("cannot read from eth0"),
        }
    }
    file.flush()?;
    report(&Captured { frames, missed: u64::from(wire.stats()?.dropped) })
}

/// Opens `eth0` to capture what comes in.
fn open() -> Result<Capture<Active>> {
    let wire = Capture::from_device("eth0")?.promisc(true).immediate_mode(true);
    wire.snaplen(SNAP).buffer_size(CAPTURE_BUFFER).open().context("cannot open eth0 for raw frames")
}

/// Opens `eth0` to send raw frames. What comes in is no matter here: a large buffer would only keep the core busy while the
/// kernel clears it.
pub(super) fn open_to_send() -> Result<Capture<Active>> {
    let wire = Capture::from_device("eth0")?.snaplen(SEND_SNAP).buffer_size(SEND_BUFFER);
    wire.open().context("cannot open eth0 to send raw frames")
}
