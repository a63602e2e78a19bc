//! What is known of one flow, and what is told of it at its end.

use std::net::IpAddr;
use std::num::NonZeroU16;

use super::{Direction, Key};
use crate::units::Nanos;

/// One flow in the cache: what every packet needs in the first cache line, the accounts in the second.
///
/// Two lines hold as long as `V` has at most 8 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(128))]
pub struct Flow<V> {
    key: Key,
    first: Direction,
    dscp: u8,
    meter: Option<NonZeroU16>,
    epoch: u32,
    verdict: V,
    last_seen: Nanos,

    packets: [u64; 2],
    bytes: [u64; 2],
    first_seen: Nanos,
    sequence: u64,
    after: [V; 2],
}

impl<V: Copy> Flow<V> {
    /// A flow that has no verdict and whose first packet is still to be counted.
    pub(super) fn new(key: Key, first: Direction, sequence: u64, now: Nanos, blank: V) -> Flow<V> {
        Flow {
            key,
            first,
            dscp: 0,
            meter: None,
            epoch: 0,
            verdict: blank,
            last_seen: now,
            packets: [0; 2],
            bytes: [0; 2],
            first_seen: now,
            sequence,
            after: [blank; 2],
        }
    }

    /// The verdict, if it was made under policy `epoch` for packets marked `dscp`; otherwise the flow has to be judged.
    ///
    /// Pass the same `dscp` always where the policy doesn't look at it.
    #[inline]
    pub fn verdict(&self, epoch: u32, dscp: u8) -> Option<V> {
        (self.epoch == epoch && self.dscp == dscp).then_some(self.verdict)
    }

    /// Keeps `verdict`, made under policy `epoch` for packets marked `dscp`. Epochs count from 1.
    #[inline]
    pub fn judged(&mut self, verdict: V, epoch: u32, dscp: u8) {
        debug_assert_ne!(epoch, 0, "epoch 0 marks a flow without verdict");
        (self.verdict, self.epoch, self.dscp) = (verdict, epoch, dscp);
    }

    /// Keeps the number of what meters the flow beside the verdict, for as long as that holds.
    #[inline]
    pub fn metered_by(&mut self, meter: Option<NonZeroU16>) {
        self.meter = meter;
    }

    /// The number of what meters the flow; it means something only beside a verdict that holds.
    #[inline]
    pub fn meter(&self) -> Option<NonZeroU16> {
        self.meter
    }

    /// Adds a packet of `bytes` to the account; its verdict must be in place.
    #[inline]
    pub fn count(&mut self, direction: Direction, bytes: u32) {
        self.packets[direction as usize] += 1;
        self.bytes[direction as usize] += u64::from(bytes);
        match self.total_packets() {
            1 => self.after[0] = self.verdict,
            3 => self.after[1] = self.verdict,
            _ => {}
        }
    }

    /// The two ends.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The direction of the first packet.
    pub fn first(&self) -> Direction {
        self.first
    }

    /// The packets counted in both directions.
    pub fn total_packets(&self) -> u64 {
        self.packets[0] + self.packets[1]
    }

    /// Notes that a packet came at `now`.
    #[inline]
    pub(super) fn seen(&mut self, now: Nanos) {
        self.last_seen = now;
    }

    /// When the last packet came.
    pub(super) fn last_seen(&self) -> Nanos {
        self.last_seen
    }

    /// The place of the flow among all flows in the order of their first packets.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What there is to tell of the flow.
    pub fn record(&self) -> Record<V> {
        let (forward, back) = (self.first as usize, self.first.opposite() as usize);
        let (source, source_port) = self.key.source(self.first);
        let (destination, destination_port) = self.key.destination(self.first);
        let total = self.total_packets();
        Record {
            protocol: self.key.protocol(),
            source,
            source_port,
            destination,
            destination_port,
            vlan: self.key.vlan(),
            verdict: self.verdict,
            after: [
                if total >= 1 { self.after[0] } else { self.verdict },
                if total >= 3 { self.after[1] } else { self.verdict },
            ],
            packets: [self.packets[forward], self.packets[back]],
            bytes: [self.bytes[forward], self.bytes[back]],
            first_seen: self.first_seen,
            last_seen: self.last_seen,
        }
    }
}

/// What is told of a flow when it leaves the cache; the source is the end that sent the first packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record<V> {
    /// The IP protocol number.
    pub protocol: u8,
    /// The end that sent the first packet.
    pub source: IpAddr,
    /// Its port; zero for fragments and protocols without ports.
    pub source_port: u16,
    /// The other end.
    pub destination: IpAddr,
    /// Its port likewise.
    pub destination_port: u16,
    /// The identifiers of the two outer VLAN tags; zero where there is none.
    pub vlan: [u16; 2],
    /// The last verdict.
    pub verdict: V,
    /// The verdict once 1 and once 3 packets had been seen; the last verdict if there were fewer.
    pub after: [V; 2],
    /// Packets from the source and back to it.
    pub packets: [u64; 2],
    /// Bytes from the source and back to it, as they were counted.
    pub bytes: [u64; 2],
    /// When the first packet was seen.
    pub first_seen: Nanos,
    /// When the last packet was seen.
    pub last_seen: Nanos,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_two_cache_lines_with_the_accounts_in_the_second() {
        assert_eq!(size_of::<Flow<[u8; 8]>>(), 128);
        assert_eq!(std::mem::offset_of!(Flow<[u8; 8]>, packets), 64);
    }
}
