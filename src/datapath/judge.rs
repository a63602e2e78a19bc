//! The verdict of a frame: cached with its flow, or made now; and what a policer says to it.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::counters::IngressCounts;
use super::police::{Action, Meters, Pair};
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
    meters: Meters,
    seen: [Seen; BURST],
}

impl Judge {
    /// A judge by `policy` who remembers what `flows` can hold.
    pub fn new(flows: FlowTable<Verdict>, policy: Arc<Policy>) -> Judge {
        let meters = Meters::new(&policy.policing);
        Judge { flows, records: None, policy, meters, seen: [Seen::NOTHING; BURST] }
    }

    /// Sends the records of flows that leave the table to `records`; what doesn't fit is counted and lost.
    pub fn report_flows(&mut self, records: rtrb::Producer<Record<Verdict>>) {
        self.records = Some(records);
    }

    /// Replaces the policy; verdicts cached under the old one are made again when their flow's next frame comes.
    pub fn adopt(&mut self, policy: Arc<Policy>) {
        self.meters.adopt(&self.policy.policing, &policy.policing);
        self.policy = policy;
    }

    /// The flow table.
    pub fn flows(&mut self) -> &mut FlowTable<Verdict> {
        &mut self.flows
    }

    /// Finds the verdict on each frame of a burst that came in at `side`, notes class, leaf, band and flow hash in the frame's
    /// slot, and marks the frame as its class is to be marked; one without an IP header has no mark. Returns the frames that
    /// a policer drops, one bit each, the first of the burst lowest.
    ///
    /// Three short loops come before the one that decides, so that the cache lines of all flows are on their way at once.
    #[inline]
    pub fn decide(&mut self, table: &Table, burst: &mut Burst, side: Side, now: Nanos, counts: &IngressCounts) -> u32 {
        let Judge { flows, records, policy, meters, seen } = self;
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
        let policing = !policy.policing.is_empty();
        let mut hits = 0;
        for (frame, seen) in burst.iter_mut().zip(&mut *seen) {
            if !seen.flow {
                let (verdict, meter) = judge(policy, table.bytes(frame), side);
                seen.meter = meter;
                let slot = table.slot_mut(frame);
                (slot.class, slot.flow_hash) = (verdict.class.slot(), 0);
                (slot.leaf, slot.band) = policy.lane(verdict);
                continue;
            }
            let Seen { key, direction, hash, place, dscp, meter, .. } = seen;
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
                    let (verdict, meter) = judge(policy, table.bytes(frame), side);
                    flow.judged(verdict, policy.epoch, dscp);
                    flow.metered_by(meter);
                    verdict
                }
            };
            if policing {
                *meter = flow.meter();
            }
            let slot = table.slot_mut(frame);
            flow.count(*direction, slot.wire_len);
            (slot.class, slot.flow_hash) = (verdict.class.slot(), (*hash >> 32) as u32 ^ *direction as u32);
            (slot.leaf, slot.band) = policy.lane(verdict);
            if let Some(marks) = &policy.marks
                && !verdict.observed
            {
                seen.mark(marks.of(verdict.class.slot(), side, seen.dscp), table.bytes_mut(frame));
            }
        }
        counts.flow_hits.add(hits);
        if !policing {
            return 0;
        }
        let (dropped, demoted) = police(policy, meters, table, burst, seen, side, now);
        counts.demoted.add(demoted);
        dropped
    }
}

/// Meters the frames of a burst that have a meter: marks those to be remarked, notes a new leaf and band for those that
/// are demoted, and returns the ones to drop, as [`Judge::decide`] does, and how many were demoted.
fn police(
    policy: &Policy,
    meters: &mut Meters,
    table: &Table,
    burst: &mut Burst,
    seen: &[Seen],
    side: Side,
    now: Nanos,
) -> (u32, u64) {
    let overhead = policy.trees[side.opposite() as usize].overhead;
    let (mut dropped, mut demoted) = (0, 0);
    for (index, (frame, seen)) in burst.iter_mut().zip(seen).enumerate() {
        let Some(pair) = seen.meter else { continue };
        let slot = table.slot_mut(frame);
        let (colour, action) = meters.meter(&policy.policing, pair, side, overhead.cost(slot.wire_len), seen.dscp, now);
        match action {
            Action::Pass => {}
            Action::Remark => {
                // The class was asked before, and this frame may have another mark than it came with.
                let marked = policy.marks.as_ref().map_or(seen.dscp, |marks| marks.of(slot.class, side, seen.dscp));
                if let Some(ip) = seen.ip {
                    mark::set_dscp(table.bytes_mut(frame), ip, colour.in_dscp(marked));
                }
            }
            Action::Demote => {
                (slot.leaf, slot.band) = policy.demoted();
                demoted += 1;
            }
            Action::Drop => dropped |= 1 << index,
        }
    }
    (dropped, demoted)
}

/// The verdict on a frame and what meters it, made now: rare enough to read the frame again.
#[cold]
fn judge(policy: &Policy, frame: &[u8], side: Side) -> (Verdict, Option<Pair>) {
    let packet = Packet::parse(frame);
    let verdict = policy.classifier.judge(&packet, frame, side);
    let policing = &policy.policing;
    let asks = policing.asks_for_subscribers();
    let subscriber = if asks { policy.classifier.subscriber_of(&packet, frame, side) } else { None };
    (verdict, policing.pair(verdict, subscriber))
}

/// What the cache must know of a frame; kept from burst to burst for the memory alone.
#[derive(Clone, Copy, Debug)]
struct Seen {
    key: Key,
    direction: Direction,
    /// Whether the frame belongs to a flow; if not, key, direction and hash mean nothing.
    flow: bool,
    dscp: u8,
    /// Where the IP header begins.
    ip: Option<NonZeroU16>,
    hash: u64,
    /// Where the flow stands in the table, if it is there.
    place: Option<Place>,
    /// What meters the frame; found out last, and only where something is policed.
    meter: Option<Pair>,
}

impl Seen {
    const NOTHING: Seen = Seen {
        key: Key::NONE,
        direction: Direction::Rising,
        flow: false,
        dscp: 0,
        ip: None,
        hash: 0,
        place: None,
        meter: None,
    };

    #[inline]
    fn read(&mut self, frame: &[u8]) {
        let packet = Packet::parse(frame);
        let key = Key::of(&packet, frame);
        (self.flow, self.dscp, self.ip) = (key.is_some(), packet.dscp(), packet.ip_offset());
        if let Some((key, direction)) = key {
            (self.key, self.direction, self.hash) = (key, direction, key.hash(FLOW_SEED));
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
