//! The verdict of a frame: cached with its flow, or made now.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::counters::IngressCounts;
use super::policy::Policy;
use crate::classify::Verdict;
use crate::flow::{Direction, FlowTable, Key, Place, Record};
use crate::frame::{BURST, Burst, Side, Table};
use crate::units::Nanos;
use crate::wire::{Packet, mark};

/// The seed of the flow hash: fixed, so that a replay is the same every time.
const FLOW_SEED: u64 = 0x7469_6465_6761_7465;

/// A flow table and the policy by which flows are judged.
#[derive(Debug)]
pub struct Judge {
    flows: FlowTable<Verdict>,
    /// Takes the records of flows that leave the table, if anyone wants them.
    records: Option<rtrb::Producer<Record<Verdict>>>,
    policy: Arc<Policy>,
    seen: [Seen; BURST],
}

impl Judge {
    /// A judge by `policy` who remembers what `flows` can hold.
    pub fn new(flows: FlowTable<Verdict>, policy: Arc<Policy>) -> Judge {
        Judge { flows, records: None, policy, seen: [Seen::NOTHING; BURST] }
    }

    /// Sends the records of flows that leave the table to `records`; what doesn't fit is counted and lost.
    pub fn report_flows(&mut self, records: rtrb::Producer<Record<Verdict>>) {
        self.records = Some(records);
    }

    /// Replaces the policy; verdicts cached under the old one are made again when their flow's next frame comes.
    pub fn adopt(&mut self, policy: Arc<Policy>) {
        self.policy = policy;
    }

    /// The flow table.
    pub fn flows(&mut self) -> &mut FlowTable<Verdict> {
        &mut self.flows
    }

    /// Finds the verdict on each frame of a burst that came in at `side`, notes class, leaf, band and flow hash in the frame's slot,
    /// and marks the frame as its class is to be marked; one without an IP header has no mark.
    ///
    /// Three short loops come before the one that decides, so that the cache lines of all flows are on their way at once.
    #[inline]
    pub fn decide(&mut self, table: &Table, burst: &mut Burst, side: Side, now: Nanos, counts: &IngressCounts) {
        let Judge { flows, records, policy, seen } = self;
        for (seen, frame) in seen.iter_mut().zip(&*burst) {
            seen.read(table.bytes(frame));
        }
        let seen = &mut seen[..burst.len()];
        for seen in &mut *seen {
            seen.place = if seen.flow { flows.place_of(seen.hash) } else { None };
        }
        for seen in &mut *seen {
            seen.place = seen.place.filter(|place| flows.holds(*place, &seen.key));
        }
        let before = flows.flows_seen();
        // A verdict that no rule can change with the marking holds for frames of any marking.
        let marked = policy.classifier.uses_dscp();
        let mut hits = 0;
        for (frame, seen) in burst.iter_mut().zip(&*seen) {
            if !seen.flow {
                let verdict = judge(policy, table.bytes(frame), side);
                let slot = table.slot_mut(frame);
                (slot.class, slot.flow_hash) = (verdict.class.slot(), 0);
                (slot.leaf, slot.band) = policy.lane(verdict);
                continue;
            }
            let Seen { key, direction, hash, place, dscp, .. } = seen;
            let flow = match place {
                // No flow has come since the search, so none has left its place.
                Some(place) if flows.flows_seen() == before => flows.at(*place, now),
                _ => flows.lookup(key, *direction, *hash, now, |record| {
                    if let Some(records) = records
                        && records.push(record).is_err()
                    {
                        counts.records_lost.add(1);
                    }
                }),
            };
            let dscp = if marked { *dscp } else { 0 };
            let verdict = match flow.verdict(policy.epoch, dscp) {
                Some(verdict) => {
                    hits += 1;
                    verdict
                }
                None => {
                    counts.flow_misses.add(1);
                    let verdict = judge(policy, table.bytes(frame), side);
                    flow.judged(verdict, policy.epoch, dscp);
                    verdict
                }
            };
            let slot = table.slot_mut(frame);
            flow.count(*direction, slot.wire_len);
            (slot.class, slot.flow_hash) = (verdict.class.slot(), (hash >> 32) as u32 ^ *direction as u32);
            (slot.leaf, slot.band) = policy.lane(verdict);
            if let Some(marks) = &policy.marks
                && !verdict.observed
            {
                seen.mark(marks.of(verdict.class.slot(), side, seen.dscp), table.bytes_mut(frame));
            }
        }
        counts.flow_hits.add(hits);
    }
}

/// The verdict on a frame, made now: rare enough to read the frame again.
#[cold]
fn judge(policy: &Policy, frame: &[u8], side: Side) -> Verdict {
    policy.classifier.judge(&Packet::parse(frame), frame, side)
}

/// What the cache must know of a frame; kept from burst to burst for the memory alone.
#[derive(Clone, Copy, Debug)]
struct Seen {
    key: Key,
    direction: Direction,
    /// Whether the frame belongs to a flow; if not, all else means nothing.
    flow: bool,
    dscp: u8,
    /// Where the IP header begins.
    ip: Option<NonZeroU16>,
    hash: u64,
    /// Where the flow stands in the table, if it is there.
    place: Option<Place>,
}

impl Seen {
    const NOTHING: Seen =
        Seen { key: Key::NONE, direction: Direction::Rising, flow: false, dscp: 0, ip: None, hash: 0, place: None };

    #[inline]
    fn read(&mut self, frame: &[u8]) {
        let packet = Packet::parse(frame);
        let key = Key::of(&packet, frame);
        self.flow = key.is_some();
        if let Some((key, direction)) = key {
            (self.key, self.direction, self.dscp, self.hash) = (key, direction, packet.dscp(), key.hash(FLOW_SEED));
            self.ip = packet.ip_offset();
        }
    }

    /// Sets the mark of the frame that was read to `dscp`, if it's another.
    #[inline]
    fn mark(&self, dscp: u8, frame: &mut [u8]) {
        if dscp != self.dscp
            && let Some(ip) = self.ip
        {
            mark::set_dscp(frame, ip, dscp);
        }
    }
}
