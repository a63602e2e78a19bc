//! What is sent, and when.

use tidegate::frame::Side;
use tidegate::units::{Nanos, Rate};

/// A frame, and when it is at the port.
pub(crate) struct Offer {
    pub(crate) at: Nanos,
    pub(crate) bytes: Vec<u8>,
}

/// Ports that the built-in table puts in a class each; UDP.
pub(crate) const VOICE: u16 = 5060;
pub(crate) const GAMING: u16 = 27015;
pub(crate) const VIDEO: u16 = 554;
pub(crate) const WEB: u16 = 443;
pub(crate) const FILE: u16 = 6881;
pub(crate) const BACKGROUND: u16 = 53;

/// Who talks to whom over UDP: a client inside, 10.0.x.x, with a server outside, 198.18.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Talk {
    /// The last two bytes of the client's address, and its port.
    pub(crate) client: u16,
    pub(crate) server_port: u16,
    pub(crate) dscp: u8,
    pub(crate) vlan: Option<u16>,
}

impl Talk {
    pub(crate) fn to(server_port: u16) -> Talk {
        Talk { client: server_port, server_port, dscp: 0, vlan: None }
    }

    /// A frame of `len` bytes that comes in at `side`, with `id` in its last eight bytes.
    pub(crate) fn frame(&self, side: Side, len: usize, id: u64) -> Vec<u8> {
        let mut frame = match side {
            Side::Inside => vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1],
            Side::Outside => vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2],
        };
        if let Some(vlan) = self.vlan {
            frame.extend([0x81, 0x00]);
            frame.extend(vlan.to_be_bytes());
        }
        let [high, low] = self.client.to_be_bytes();
        let ends = [([10, 0, high, low], self.client | 0x8000), ([198, 18, 0, 1], self.server_port)];
        let [(source, source_port), (destination, destination_port)] =
            if side == Side::Inside { ends } else { [ends[1], ends[0]] };
        frame.extend([0x08, 0x00, 0x45, self.dscp << 2]);
        let ip = len - frame.len() + 2;
        frame.extend((ip as u16).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        frame.extend([source, destination].concat());
        frame.extend([source_port, destination_port, ip as u16 - 20, 0].map(u16::to_be_bytes).concat());
        assert!(frame.len() + 8 <= len, "{len} bytes are too few for {self:?}");
        frame.resize(len - 8, 0x5a);
        frame.extend(id.to_be_bytes());
        frame
    }

    /// Frames of `len` bytes that come in at `side` without end, at `rate` if each costs 24 bytes more.
    pub(crate) fn stream(self, side: Side, len: usize, rate: Rate) -> impl Iterator<Item = Offer> {
        (0..).map(move |n| Offer { at: rate.time_for(n * (len as u64 + 24)), bytes: self.frame(side, len, n) })
    }
}

/// The number that a frame was given.
pub(crate) fn id(frame: &[u8]) -> u64 {
    u64::from_be_bytes(*frame.last_chunk().expect("a frame that ends in its number"))
}

/// All `streams` as one, in the order of time, up to `until`.
pub(crate) fn together(streams: Vec<Box<dyn Iterator<Item = Offer>>>, until: Nanos) -> impl Iterator<Item = Offer> {
    let mut streams: Vec<_> = streams.into_iter().map(Iterator::peekable).collect();
    std::iter::from_fn(move || {
        let next = streams.iter_mut().filter_map(|stream| Some((stream.peek()?.at, stream)));
        let (at, stream) = next.min_by_key(|(at, _)| *at)?;
        if at > until { None } else { stream.next() }
    })
}

/// SplitMix64 (Steele, Lea and Flood 2014): the same numbers for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// One of `choices`.
    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}
