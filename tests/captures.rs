//! Every capture at hand: read as an independent reader reads it, replayed into the same frames, and never a panic.
//!
//! Needs the data folder (`TIDEGATE_DATA`, by default `../shared`).

// Where captures are.
mod data;

use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tidegate::frame::{Burst, Owner, Side, Table, homes};
use tidegate::port::pcap::{Capture, Error, LinkType, MAX_FRAME, MacPairs, Replay, ReplaySetup, Writer};
use tidegate::port::{Rx, Tx};
use tidegate::units::Nanos;

fn captures() -> Vec<PathBuf> {
    ["robust/pcap", "ndpi/pcap", "mix/pcap"].into_iter().flat_map(data::files).collect()
}

/// The link type and the frames, as far as a plain reader of the whole file in memory gets; no frames if not all is Ethernet.
fn plain_reader(path: &Path) -> (Option<u32>, Vec<Vec<u8>>) {
    let mut raw = fs::read(path).expect("the file can be read");
    if raw.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        if flate2::read::MultiGzDecoder::new(&raw[..]).read_to_end(&mut plain).is_err() {
            return (None, Vec::new());
        }
        raw = plain;
    }
    match raw.get(..4) {
        Some([0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1]) => plain_pcap(&raw, u32::from_le_bytes),
        Some([0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d]) => plain_pcap(&raw, u32::from_be_bytes),
        Some([0x0a, 0x0d, 0x0d, 0x0a]) => plain_pcapng(&raw),
        _ => (None, Vec::new()),
    }
}

fn plain_pcap(raw: &[u8], word: fn([u8; 4]) -> u32) -> (Option<u32>, Vec<Vec<u8>>) {
    let at = |p: usize| raw.get(p..p + 4).map(|b| word(b.try_into().unwrap()));
    let Some(link) = at(20) else { return (None, Vec::new()) };
    let (mut frames, mut p) = (Vec::new(), 24);
    while raw.len() >= p + 16
        && let Some(n) = at(p + 8).map(|n| n as usize)
        && n <= 0x40000
        && let Some(frame) = raw.get(p + 16..p + 16 + n)
    {
        frames.push(frame.to_vec());
        p += 16 + n;
    }
    let link = link & 0x0fff_ffff;
    (Some(link), if link == 1 { frames } else { Vec::new() })
}

fn plain_pcapng(raw: &[u8]) -> (Option<u32>, Vec<Vec<u8>>) {
    let (mut p, mut big, mut links, mut frames) = (0, false, Vec::new(), Vec::new());
    let word = |p: usize, big: bool| {
        let bytes: [u8; 4] = raw[p..p + 4].try_into().unwrap();
        if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    while p + 12 <= raw.len() {
        if raw[p..].starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) {
            big = raw[p + 8..].starts_with(&[0x1a, 0x2b, 0x3c, 0x4d]);
            links.clear();
        }
        let (kind, n) = (word(p, big), word(p + 4, big) as usize);
        if n < 12 || n % 4 != 0 || p + n > raw.len() {
            break;
        }
        match kind {
            1 => links.push(word(p + 8, big) >> if big { 16 } else { 0 } & 0xffff),
            3 => frames.push(raw[p + 12..p + n - 4].to_vec()),
            6 if n >= 32 => {
                let len = word(p + 20, big) as usize;
                frames.push(raw[p + 28..(p + 28 + len).min(p + n - 4)].to_vec());
            }
            _ => {}
        }
        p += n;
    }
    let link = links.iter().copied().find(|link| *link != 1).or(links.first().copied());
    (link, if link == Some(1) { frames } else { Vec::new() })
}

type Frames = Vec<(LinkType, Vec<u8>)>;

/// All frames of a capture, and whether it was cut short.
fn read_all(mut capture: Capture) -> (Frames, Result<bool, Error>) {
    let mut frames = Vec::new();
    loop {
        match capture.next() {
            Ok(Some(record)) => {
                assert!(record.data.len() <= MAX_FRAME && record.wire_len as usize >= record.data.len());
                frames.push((record.link, record.data.to_vec()));
            }
            Ok(None) => return (frames, Ok(capture.truncated().is_some())),
            Err(e) => return (frames, Err(e)),
        }
    }
}

#[test]
fn every_capture_reads_as_a_plain_reader_reads_it() {
    let (mut ethernet, mut frames_read, mut bytes_read, mut damaged, mut truncated) = (0, 0, 0, 0, 0);
    let mut others = std::collections::BTreeMap::<LinkType, (u64, u64)>::new();
    for path in captures() {
        let capture = match Capture::open(&path) {
            Ok(capture) => capture,
            Err(e) => {
                assert_eq!(plain_reader(&path).0, None, "{e}");
                println!("{e}");
                continue;
            }
        };
        let (frames, end) = read_all(capture);
        match end {
            Ok(cut) => truncated += u32::from(cut),
            Err(e) => {
                damaged += 1;
                let words = e.to_string();
                assert!(words.starts_with(&path.display().to_string()) && words.len() < 400, "{words}");
            }
        }
        let (link, expected) = plain_reader(&path);
        let mut buffer = Vec::new();
        for (link, data) in &frames {
            let known = link.to_ethernet(data, &mut buffer);
            let count = others.entry(*link).or_default();
            if known { count.0 += 1 } else { count.1 += 1 }
        }
        if link == Some(1) {
            ethernet += 1;
            let got: Vec<Vec<u8>> = frames.into_iter().map(|(_, data)| data).collect();
            assert_eq!(got.len(), expected.len(), "frames of {}", path.display());
            assert!(got == expected, "bytes of {}", path.display());
            frames_read += got.len();
            bytes_read += got.iter().map(Vec::len).sum::<usize>();
        }
    }
    println!(
        "{ethernet} Ethernet captures, {frames_read} frames, {bytes_read} bytes; {truncated} truncated, {damaged} damaged"
    );
    for (link, (known, skipped)) in others {
        println!("{link}: {known} made Ethernet, {skipped} skipped");
    }
}

/// What a replay straight from each port to the other saw.
struct Straight {
    /// Arrival, side, captured bytes, wire length.
    arrived: Vec<(Nanos, Side, Vec<u8>, u32)>,
    end: Result<tidegate::port::pcap::Summary, Error>,
}

/// Runs a capture straight through, with as little between the ports as there can be.
fn straight(capture: Capture, setup: ReplaySetup<'_>) -> Result<Straight, Error> {
    let mut pairs = MacPairs::default();
    let (replay, mut rx, mut tx) = Replay::open(capture, setup, move |frame| pairs.side_of(frame))?;
    let (table, frames) = Table::heap(256, MAX_FRAME as u32);
    let (mut home, mut back) = homes(frames, 1, 1);
    let (home, back) = (&mut home[0], &mut back[0]);
    let mut arrived = Vec::new();
    let mut burst = Burst::new();
    let mut waiting = Burst::new();
    loop {
        let arrival = rx.iter().filter_map(Rx::next_arrival).min().expect("one of the sides knows");
        let completion = tx.iter().filter_map(Tx::next_completion).min().unwrap_or(Nanos::MAX);
        let now = arrival.min(completion);
        if now == Nanos::MAX {
            break;
        }
        home.collect();
        let before = arrived.len();
        for side in Side::BOTH {
            rx[side as usize].refill(&table, home);
            rx[side as usize].receive(&table, now, &mut burst);
            for frame in burst.drain(..) {
                table.pass(&frame, Owner::Ingress, Owner::Egress);
                let slot = table.slot(&frame);
                arrived.push((now, side, table.bytes(&frame).to_vec(), slot.wire_len));
                waiting.push(frame);
            }
            let tx = &mut tx[side.opposite() as usize];
            assert!(tx.room() >= waiting.len());
            tx.submit(&table, now, &mut waiting);
            tx.flush(now, &now);
            tx.complete(&table, now, &mut burst);
            for frame in burst.drain(..) {
                back.send(&table, frame, Owner::Transmit);
            }
        }
        assert!(arrived.len() <= before + 1, "two frames at {now}");
    }
    assert_eq!(rx.iter().map(|rx| rx.losses().fill_empty + rx.losses().other).sum::<u64>(), 0);
    assert!(tx.iter().all(|tx| tx.in_flight() == 0));
    home.collect();
    if let Some(census) = table.census() {
        let mut expected = [0; 6];
        expected[Owner::Fill as usize] = rx.iter().map(Rx::lent).sum();
        expected[Owner::Home as usize] = table.frames() - expected[Owner::Fill as usize];
        assert_eq!(census, expected);
    }
    Ok(Straight { arrived, end: replay.finish() })
}

#[test]
fn every_ethernet_capture_comes_out_of_a_replay_as_it_went_in() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = folder.path().join("out.pcap");
    let (mut same, mut refused) = (0, 0);
    for path in captures() {
        let Ok(capture) = Capture::open(&path) else { continue };
        let (link, expected) = plain_reader(&path);
        let setup = ReplaySetup { output: Some(&output), ..ReplaySetup::default() };
        let run = match straight(capture, setup) {
            Ok(run) => run,
            Err(e) => {
                assert!(matches!(e, Error::NotEthernet { .. }) && link != Some(1), "{e}");
                refused += 1;
                continue;
            }
        };
        if link != Some(1) {
            assert!(run.end.is_err(), "{} has {link:?}", path.display());
            refused += 1;
            continue;
        }
        let (written, end) = read_all(Capture::open(&output).expect("our own file"));
        assert!(matches!(end, Ok(false)));
        assert!(written.iter().map(|(_, data)| data).eq(&expected), "{}", path.display());
        if let Ok(summary) = run.end {
            assert_eq!(summary.frames.iter().sum::<u64>(), expected.len() as u64);
            assert_eq!(summary.bytes.iter().sum::<u64>(), run.arrived.iter().map(|a| u64::from(a.3)).sum::<u64>());
        }
        same += 1;
    }
    println!("{same} came out as they went in, {refused} refused");
}

/// Reads `bytes` as a capture file to whatever end, made Ethernet where possible.
fn survive(bytes: Vec<u8>) {
    let Ok(capture) = Capture::read("test".as_ref(), Box::new(Cursor::new(bytes))) else { return };
    let mut frame = Vec::new();
    for (link, data) in read_all(capture).0 {
        link.to_ethernet(&data, &mut frame);
        assert!(frame.len() <= MAX_FRAME);
    }
}

/// Small captures as they are in the file, for seeds.
fn seeds() -> Vec<Vec<u8>> {
    let small = |path: &PathBuf| fs::read(path).ok().filter(|bytes| bytes.len() < 4096);
    captures().iter().filter_map(small).collect()
}

#[test]
fn no_corruption_of_a_capture_makes_the_reader_panic() {
    let seeds = seeds();
    if seeds.is_empty() {
        return;
    }
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20);
    let input = (any::<prop::sample::Index>(), changes, any::<prop::sample::Index>());
    proptest!(ProptestConfig::with_cases(4000), |((seed, changes, cut) in input)| {
        let mut bytes = seed.get(&seeds).clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        survive(bytes.clone());
        bytes.truncate(cut.index(bytes.len() + 1));
        survive(bytes);
    });
}

#[test]
fn no_bytes_behind_any_header_make_the_reader_panic() {
    let inputs = data::files("robust/fuzz_inputs");
    // A pcap file whose only record is the input, for each link type that is made Ethernet, and the input as a file of its own.
    for path in inputs {
        let input = fs::read(path).expect("the file can be read");
        survive(input.clone());
        for start in [&b"\xd4\xc3\xb2\xa1"[..], b"\xa1\xb2\x3c\x4d", b"\x0a\x0d\x0d\x0a", b"\x1f\x8b\x08\x00"] {
            survive([start, &input].concat());
        }
        for link in [0, 1, 9, 12, 50, 101, 104, 105, 108, 113, 127, 192, 228, 229, 276] {
            let mut frame = Vec::new();
            for from in 0..input.len().min(64) {
                LinkType(link).to_ethernet(&input[from..], &mut frame);
            }
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_replayed_and_written_again_the_same(
        mut frames in prop::collection::vec((0u64..1 << 62, prop::collection::vec(any::<u8>(), 0..200), 0u32..2000), 0..50),
    ) {
        frames.sort_by_key(|(time, ..)| *time);
        frames.dedup_by_key(|(time, ..)| *time);
        // Times of a pcap file end in 2106.
        frames.retain(|(time, ..)| time / 1_000_000_000 <= u64::from(u32::MAX));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (first, second) = (folder.path().join("first.pcap"), folder.path().join("second.pcap"));
        let mut writer = Writer::create(&first).unwrap();
        for (time, data, more) in &frames {
            writer.write(Nanos(*time), data, data.len() as u32 + more).unwrap();
        }
        writer.finish().unwrap();
        let setup = ReplaySetup { output: Some(&second), ..ReplaySetup::default() };
        let run = straight(Capture::open(&first).unwrap(), setup).unwrap();
        prop_assert_eq!(run.end.unwrap().frames.iter().sum::<u64>(), frames.len() as u64);
        prop_assert!(fs::read(&first).unwrap() == fs::read(&second).unwrap());
    }
}
