//! Does the wire stay a wire? Odd, hostile and broken frames are injected at the client and compared, byte for byte and
//! flow by flow, with what arrives at the server: over a plain cable (what the hosts themselves can carry), through the
//! kernel bridge (the control), and through Tidegate.

mod bed;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bed::flow::flow;
use tidegate_lab::netns::Direction;
use tidegate_lab::system::{Running, tidegate_policy};
use tidegate_lab::traffic::frames::{self, LONGEST, SHORTEST, Tap};
use tidegate_lab::{Layout, System};

type Frames = Vec<Vec<u8>>;

/// Slow enough for every system: this test is about bytes, not speed.
const PER_SECOND: u64 = 10_000;

#[test]
fn every_frame_arrives_as_it_was_sent() {
    let Some(folder) = bed::captures() else { return };
    run(&folder).unwrap_or_else(|error| panic!("{error:#}"));
}

fn run(folder: &Path) -> Result<()> {
    let mut sent = collect(folder)?;
    ensure!(!sent.is_empty(), "no Ethernet frames in {}", folder.display());
    sent.extend(edges());

    let Some(()) = cross(None, &sent, hosts_lose)? else { return Ok(()) };
    let Some(()) = cross(Some(&System::Bridge), &sent, |frame| hosts_lose(frame).or_else(|| bridge_eats(frame)))?
    else {
        return Ok(());
    };
    let Some(system) = bed::tidegate(tidegate_policy(None, "")) else { return Ok(()) };
    cross(Some(&system), &sent, hosts_lose)?;
    Ok(())
}

/// The frames of all captures that a wire with an MTU of 1500 can carry.
fn collect(folder: &Path) -> Result<Frames> {
    let mut paths: Vec<_> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    let mut all = Frames::new();
    for path in paths {
        all.extend(frames::read(&path)?.into_iter().filter(|frame| (SHORTEST..=LONGEST).contains(&frame.len())));
    }
    Ok(all)
}

/// Frames at the edges: of each short and long length, to each reserved address, cut off in and after a VLAN tag, and of
/// full size with a tag.
fn edges() -> Frames {
    /// An EtherType for local experiments (IEEE 802).
    const LOCAL: u16 = 0x88b5;
    let frame = |to: [u8; 6], kind: u16, length: usize| {
        let mut frame = [&to[..], &[0x02, 0, 0, 0, 0, 7], &kind.to_be_bytes()].concat();
        // Tag 100 if it is one, then another local frame.
        frame.extend([&100u16.to_be_bytes()[..], &LOCAL.to_be_bytes()].concat());
        frame.extend((0..length).map(|index| index as u8));
        frame.truncate(length);
        frame
    };
    let other = [0x02, 0, 0, 0, 0, 9];
    let lengths = (SHORTEST..=70).chain(LONGEST - 6..=LONGEST).map(|length| frame(other, LOCAL, length));
    let reserved = (0..=15).map(|last| frame([0x01, 0x80, 0xc2, 0, 0, last], LOCAL, 60));
    let tagged = [0x8100, 0x88a8].into_iter().flat_map(|tag| (SHORTEST..=24).map(move |length| (tag, length)));
    let tagged = tagged.chain([(0x8100, LONGEST + 4)]).map(|(tag, length)| frame(other, tag, length));
    lengths.chain(reserved).chain(tagged).collect()
}

/// Sends `sent` through `system` (none: over a plain cable) each way and compares; nothing where there is no lab. A lost
/// frame needs an `excuse`.
fn cross(system: Option<&System>, sent: &Frames, excuse: impl Fn(&[u8]) -> Option<&'static str>) -> Result<Option<()>> {
    let layout = if system.is_some() { Layout::Box } else { Layout::Cable };
    let name = system.map_or("cable".to_owned(), System::to_string);
    let Some(lab) = bed::lab(layout) else { return Ok(None) };
    let running = system.map(|system| system.start(&lab)).transpose()?;
    lab.hush()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("sent.pcap");
    frames::write(&file, sent.iter().map(Vec::as_slice))?;
    let limit = Duration::from_secs(sent.len() as u64 / PER_SECOND * 3 + 20);
    for direction in [Direction::Upload, Direction::Download] {
        let tap = Tap::start(lab.receiver(direction))?;
        let injected = frames::inject_from(lab.sender(direction), &file, PER_SECOND, limit)?;
        ensure!(injected.refused.is_empty(), "the sending kernel refused frames: {:?}", injected.refused);
        let arrived = tap.finish()?;
        let comparison = Comparison::of(sent, &arrived);
        bed::say(format_args!("  {name} {direction}: {} sent, {} lost", sent.len(), comparison.lost.len()));
        let judged = comparison.allow(&excuse).with_context(|| format!("{name} {direction}"));
        judged.map_err(|error| match &running {
            Some(running) => running.explain(error),
            None => error,
        })?;
    }
    running.map(Running::stop).transpose()?;
    Ok(Some(()))
}

/// What became of the frames.
struct Comparison<'a> {
    /// Sent and not arrived.
    lost: Vec<&'a [u8]>,
    /// Arrived and not sent.
    foreign: Vec<&'a [u8]>,
    /// A flow whose frames arrived in another order.
    disorder: Option<String>,
}

impl<'a> Comparison<'a> {
    fn of(sent: &'a Frames, arrived: &'a Frames) -> Comparison<'a> {
        let mut balance: HashMap<&[u8], i64> = HashMap::new();
        sent.iter().for_each(|frame| *balance.entry(frame).or_default() += 1);
        arrived.iter().for_each(|frame| *balance.entry(frame).or_default() -= 1);
        let some = |sign: i64| {
            let entries = balance.iter().filter(move |(_, count)| **count * sign > 0);
            entries.flat_map(|(&frame, &count)| vec![frame; count.unsigned_abs() as usize]).collect()
        };
        Comparison { lost: some(1), foreign: some(-1), disorder: disorder(sent, arrived) }
    }

    /// An error unless each loss has an excuse, nothing is foreign, and every flow kept its order.
    fn allow(&self, excuse: impl Fn(&[u8]) -> Option<&'static str>) -> Result<()> {
        let mut excuses: HashMap<&str, usize> = HashMap::new();
        for frame in &self.lost {
            let reason = excuse(frame).with_context(|| format!("lost without an excuse: {frame:02x?}"))?;
            *excuses.entry(reason).or_default() += 1;
        }
        for (reason, count) in excuses {
            bed::say(format_args!("    {count} lost: {reason}"));
        }
        ensure!(
            self.foreign.is_empty(),
            "{} arrived that were not sent, as {:02x?}",
            self.foreign.len(),
            self.foreign[0]
        );
        ensure!(self.disorder.is_none(), "out of order: {}", self.disorder.as_deref().unwrap_or_default());
        Ok(())
    }
}

/// Two frames of a flow of which what arrived is not what was sent with frames left out.
fn disorder(sent: &Frames, arrived: &Frames) -> Option<String> {
    let by_flow = |frames: &Frames| {
        let mut flows: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        frames.iter().enumerate().for_each(|(index, frame)| flows.entry(flow(frame)).or_default().push(index));
        flows
    };
    let before = by_flow(sent);
    by_flow(arrived).into_iter().find_map(|(flow, after)| {
        let places = before.get(&flow)?;
        let mut ahead = places.iter();
        let mut latest = places[0];
        let early = after.into_iter().find(|&index| {
            let found = ahead.find(|&&earlier| sent[earlier] == arrived[index]);
            latest = *found.unwrap_or(&latest);
            found.is_none()
        })?;
        Some(format!("{:02x?}\nwas sent before but arrived after\n{:02x?}", arrived[early], sent[latest]))
    })
}

/// Why the hosts' own kernels, not the box, may lose a frame.
fn hosts_lose(frame: &[u8]) -> Option<&'static str> {
    // __netif_receive_skb_core, skb_vlan_untag: the tag and the type behind it must be there.
    let tagged = matches!(frame[12..14], [0x81, 0x00] | [0x88, 0xa8]);
    (tagged && frame.len() < 20).then_some("the receiving kernel drops a VLAN frame that ends within its tag")
}

/// Why a kernel bridge, though not a wire, may lose a frame (net/bridge/br_input.c, br_handle_frame).
fn bridge_eats(frame: &[u8]) -> Option<&'static str> {
    let (to, from) = (&frame[..6], &frame[6..12]);
    if from[0] & 1 == 1 || from == [0; 6] {
        return Some("a bridge drops frames from a multicast or zero address");
    }
    (to == [0x01, 0x80, 0xc2, 0, 0, 0x01]).then_some("a bridge never forwards pause frames")
}
