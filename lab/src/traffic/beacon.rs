//! Numbered frames of the protocols that a wire must not touch: those for the next hop (LLDP, LACP, spanning tree, EAPOL),
//! frames with two tags, and frames from and to a host that changes sides. Every frame has its number in its last bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::frames::open_to_send;
use super::{parse_report, report, say_ready, until_input_closes};
use crate::clock;
use crate::command::Process;
use crate::netns::{Host, START_LIMIT};

/// The time from one number to the next; each kind's frame goes with each number.
pub const INTERVAL: u64 = 4_000_000;
/// The length of every frame: the longest of the kinds, LACP, with its number behind.
const LENGTH: usize = 136;
/// What the last bytes of every frame begin with, before the number.
const MARK: [u8; 4] = *b"tide";
/// The mark and the number.
const TAIL: usize = MARK.len() + 8;
/// The address of the host that changes sides.
const ROAMER: [u8; 6] = [0x02, 0x77, 0, 0, 0, 0x99];

/// What a frame is, told by its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Who is on this port (IEEE 802.1AB).
    Lldp,
    /// Bundles links (IEEE 802.1AX).
    Lacp,
    /// Spanning tree (IEEE 802.1D).
    Bpdu,
    /// Logs on to the port (IEEE 802.1X).
    Eapol,
    /// IPv4 under two tags (IEEE 802.1ad).
    QinQ,
    /// From the host that changes sides, sent at the side where it is.
    FromRoamer,
    /// To the host that changes sides, sent at the other side.
    ToRoamer,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 7] =
        [Kind::Lldp, Kind::Lacp, Kind::Bpdu, Kind::Eapol, Kind::QinQ, Kind::FromRoamer, Kind::ToRoamer];

    /// Where it goes, and what it begins with behind the addresses.
    fn shape(self, peer: [u8; 6]) -> ([u8; 6], &'static [u8]) {
        const fn reserved(last: u8) -> [u8; 6] {
            [0x01, 0x80, 0xc2, 0, 0, last]
        }
        match self {
            // Chassis (a MAC address), port (a number), time to live, end.
            Kind::Lldp => (reserved(0x0e), &[0x88, 0xcc, 2, 7, 4, 2, 0x77, 0, 0, 0, 1, 4, 2, 7, 1, 6, 2, 0, 120, 0, 0]),
            // Subtype LACP, version 1, actor.
            Kind::Lacp => (reserved(0x02), &[0x88, 0x09, 1, 1, 1, 20, 0x80, 0, 2, 0x77, 0, 0, 0, 1, 0, 1]),
            // A length, LLC 42 42 03, then a configuration BPDU.
            Kind::Bpdu => (reserved(0x00), &[0, 38, 0x42, 0x42, 3, 0, 0, 0, 0, 0, 0x80, 0, 2, 0x77, 0, 0, 0, 1]),
            // Version 2, start, no body.
            Kind::Eapol => (reserved(0x03), &[0x88, 0x8e, 2, 1, 0, 0]),
            // Service tag 100, customer tag 200, an IPv4 header of 20 + 94 bytes of UDP.
            Kind::QinQ => (peer, &QINQ),
            // A type for local experiments (IEEE 802).
            Kind::FromRoamer => (peer, &[0x88, 0xb5]),
            Kind::ToRoamer => (ROAMER, &[0x88, 0xb5]),
        }
    }

    /// The frame with `number`, from `own` to `peer` as far as the kind leaves that open.
    fn frame(self, own: [u8; 6], peer: [u8; 6], number: u64) -> Vec<u8> {
        let (to, begin) = self.shape(peer);
        let from = if self == Kind::FromRoamer { ROAMER } else { own };
        let mut frame = [&to[..], &from, begin].concat();
        frame.resize(LENGTH - TAIL, 0);
        frame.extend(MARK);
        frame.extend(number.to_be_bytes());
        frame
    }

    /// The kind and number of a frame, if it is one of ours.
    fn of(frame: &[u8]) -> Option<(Kind, u64)> {
        let (rest, number) = frame.split_last_chunk::<8>()?;
        let is_kind = |kind: &Kind| {
            let (to, begin) = kind.shape(frame[..6].try_into().expect("six bytes"));
            let from_roamer = frame[6..12] == ROAMER;
            frame[..6] == to && frame[12..].starts_with(begin) && from_roamer == (*kind == Kind::FromRoamer)
        };
        let is_ours = frame.len() == LENGTH && rest.ends_with(&MARK);
        // A frame to the roamer fits the shape of one from it but for its addresses, so it is looked at first.
        let kind = is_ours.then(|| Kind::ALL.iter().rev().copied().find(is_kind)).flatten()?;
        Some((kind, u64::from_be_bytes(*number)))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Lldp => "LLDP",
            Kind::Lacp => "LACP",
            Kind::Bpdu => "BPDU",
            Kind::Eapol => "EAPOL",
            Kind::QinQ => "QinQ",
            Kind::FromRoamer => "from a roamer",
            Kind::ToRoamer => "to a roamer",
        })
    }
}

/// Two tags, then IPv4 from 10.99.0.1 to 10.99.0.2 with its checksum, then the ports of a UDP datagram.
const QINQ: [u8; 38] = [
    0x88, 0xa8, 0, 100, 0x81, 0, 0, 200, 0x08, 0, // tags and type
    0x45, 0, 0, 114, 0, 0, 0x40, 0, 64, 17, 0x25, 0xb3, 10, 99, 0, 1, 10, 99, 0, 2, // IPv4
    0x1b, 0x58, 0x1b, 0x59, 0, 94, 0, 0, // UDP, without a checksum
];

/// Where the host that changes sides is at first, as the sender of a beacon sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Roamer {
    /// On the sender's side, then on the other.
    Here,
    /// On the other side, then on the sender's.
    There,
}

/// What a beacon reports.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sent {
    /// How many numbers were sent, from zero.
    pub numbers: u64,
    /// The first number with which the roamer was on its second side.
    pub moved_at: u64,
    /// The longest time from one number to the next.
    pub pause: u64,
}

impl Sent {
    /// The numbers with which a frame of `kind` was sent, by a sender whose roamer was `roamer` at first.
    pub fn of(&self, kind: Kind, roamer: Roamer) -> std::ops::Range<u64> {
        let first = if roamer == Roamer::Here { Kind::FromRoamer } else { Kind::ToRoamer };
        match kind {
            Kind::FromRoamer | Kind::ToRoamer if kind == first => 0..self.moved_at.min(self.numbers),
            Kind::FromRoamer | Kind::ToRoamer => self.moved_at.min(self.numbers)..self.numbers,
            _ => 0..self.numbers,
        }
    }
}

/// A beacon at work at a host.
#[derive(Debug)]
pub struct Beacon(Process);

impl Beacon {
    /// Starts to send from `from` towards `to` one frame of each kind every [`INTERVAL`]; the roamer changes sides with
    /// number `move_at`.
    pub fn start(from: &Host, to: &Host, roamer: Roamer, move_at: u64) -> Result<Beacon> {
        let roamer = roamer.to_possible_value().expect("no value is skipped");
        let words = format!("beacon --own {} --peer {} --roamer {}", from.mac, to.mac, roamer.get_name());
        let mut process = from.helper(format!("{words} --move-at {move_at}")).realtime().spawn()?;
        process.wait_for(super::READY, START_LIMIT)?;
        Ok(Beacon(process))
    }

    /// Ends it.
    pub fn finish(mut self) -> Result<Sent> {
        parse_report(&self.0.finish(START_LIMIT)?)
    }
}

/// The body of `tidegate-lab beacon`.
pub fn beacon(own: &str, peer: &str, roamer: Roamer, moved_at: u64) -> Result<()> {
    let (own, peer, mut wire) = (address(own)?, address(peer)?, open_to_send()?);
    let closed = until_input_closes();
    clock::sharpen();
    say_ready()?;
    let start = clock::now();
    let (mut numbers, mut pause, mut last) = (0, 0, start);
    while !closed.load(Ordering::Relaxed) {
        let now = clock::now();
        (pause, last) = (pause.max(now - last), now);
        for kind in Kind::ALL {
            let sent = Sent { numbers: numbers + 1, moved_at, pause };
            if sent.of(kind, roamer).contains(&numbers) {
                wire.sendpacket(kind.frame(own, peer, numbers)).with_context(|| format!("cannot send {kind}"))?;
            }
        }
        numbers += 1;
        clock::sleep_until(start + numbers * INTERVAL);
    }
    report(&Sent { numbers, moved_at, pause })
}

/// The six bytes of `02:77:00:00:00:01`.
fn address(text: &str) -> Result<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    match bytes.map(<[u8; 6]>::try_from) {
        Some(Ok(address)) => Ok(address),
        _ => bail!("got {text:?}, want an Ethernet address as 02:77:00:00:00:01"),
    }
}

/// What became of the frames of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Frames sent.
    pub sent: u64,
    /// Frames that never came.
    pub lost: u64,
    /// The most numbers in a row that never came.
    pub gap: u64,
    /// Frames that came again.
    pub copies: u64,
    /// Frames that came after one with a higher number.
    pub disorder: u64,
}

/// Tells by kind what became of the frames that a beacon with `roamer` sent, given all that was captured at the other side.
pub fn arrivals(sent: &Sent, roamer: Roamer, captured: &[Vec<u8>]) -> BTreeMap<Kind, Arrived> {
    let mut numbers: BTreeMap<Kind, Vec<u64>> = BTreeMap::new();
    for (kind, number) in captured.iter().filter_map(|frame| Kind::of(frame)) {
        numbers.entry(kind).or_default().push(number);
    }
    let none = Vec::new();
    Kind::ALL
        .into_iter()
        .map(|kind| (kind, tally(sent.of(kind, roamer), numbers.get(&kind).unwrap_or(&none))))
        .collect()
}

fn tally(sent: std::ops::Range<u64>, came: &[u64]) -> Arrived {
    let mut arrived = Arrived { sent: sent.end - sent.start, ..Arrived::default() };
    let mut seen = std::collections::BTreeSet::new();
    for &number in came {
        arrived.disorder += u64::from(seen.last().is_some_and(|&highest| number < highest));
        arrived.copies += u64::from(!seen.insert(number));
    }
    let mut missing = 0;
    for number in sent {
        missing = if seen.contains(&number) { 0 } else { missing + 1 };
        arrived.lost += u64::from(missing > 0);
        arrived.gap = arrived.gap.max(missing);
    }
    arrived
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [u8; 6] = [2, 0x77, 0, 0, 0, 1];
    const PEER: [u8; 6] = [2, 0x77, 0, 0, 0, 2];

    #[test]
    fn a_frame_is_known_by_its_bytes() {
        for kind in Kind::ALL {
            let frame = kind.frame(OWN, PEER, 77);
            assert_eq!((frame.len(), Kind::of(&frame)), (LENGTH, Some((kind, 77))));
            assert_eq!(Kind::of(&frame[..LENGTH - 1]), None);
        }
        assert_eq!(Kind::of(&[0; LENGTH]), None);
        assert_eq!(Kind::of(&[]), None);
    }

    #[test]
    fn the_checksum_under_two_tags_holds() {
        let header = &QINQ[10..30];
        let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }

    #[test]
    fn a_roamer_is_here_first_and_then_there() {
        let sent = Sent { numbers: 10, moved_at: 4, pause: 0 };
        assert_eq!((sent.of(Kind::FromRoamer, Roamer::Here), sent.of(Kind::ToRoamer, Roamer::Here)), (0..4, 4..10));
        assert_eq!((sent.of(Kind::FromRoamer, Roamer::There), sent.of(Kind::ToRoamer, Roamer::There)), (4..10, 0..4));
        assert_eq!(sent.of(Kind::Lldp, Roamer::Here), 0..10);
    }

    #[test]
    fn loss_copies_and_disorder_are_told_apart() {
        let arrived = tally(0..10, &[0, 2, 1, 2, 6, 7, 8, 9]);
        assert_eq!(arrived, Arrived { sent: 10, lost: 3, gap: 3, copies: 1, disorder: 1 });
    }
}
