//! The verdict of a frame: cached with its flow, or made now.

use std::sync::Arc;

use arrayvec::ArrayVec;

use super::counters::IngressCounts;
use super::policy::Policy;
use crate::classify::Verdict;
use crate::flow::{Direction, FlowTable, Key, Place, Record};
use crate::frame::{BURST, Frame, Side, Table};
use crate::units::Nanos;
use crate::wire::Packet;

/// The seed of the flow hash: fixed, so that a replay is the same every time.
const FLOW_SEED: u64 = 0x7469_6465_6761_7465;

/// A flow table and the policy by which flows are judged.
#[derive(Debug)]
pub struct Judge {
    flows: FlowTable<Verdict>,
    /// Takes the records of flows that leave the table, if anyone wants them.
    records: Option<rtrb::Producer<Record<Verdict>>>,
    policy: Arc<Policy>,
}

impl Judge {
    /// A judge by `policy` who remembers what `flows` can hold.
    pub fn new(flows: FlowTable<Verdict>, policy: Arc<Policy>) -> Judge {
        Judge { flows, records: None, policy }
    }

    /// Sends the records of flows that leave the table to `records`; what doesn't fit is counted and lost.
    pub fn report_flows(&mut self, records: rtrb::Producer<Record<Verdict>>) {
        self.records = Some(records);
    }

    /// Replaces the policy; verdicts cached under the old one are made again when their flow's next frame comes.
    pub fn adopt(&mut self, policy: Arc<Policy>) {
        self.policy = policy;
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The flow table.
    pub fn flows(&mut self) -> &mut FlowTable<Verdict> {
        &mut self.flows
    }

    /// Finds the verdict on each frame of a burst that came in at `side`; `decided` gets one for each, in order.
    ///
    /// Three short loops come before the one that decides, so that the cache lines of all flows are on their way at once.
    #[inline]
    pub fn decide(
        &mut self,
        table: &Table,
        burst: &[Frame],
        side: Side,
        now: Nanos,
        counts: &IngressCounts,
        decided: &mut Decisions,
    ) {
        decided.clear();
        let mut seen: ArrayVec<Seen, BURST> = burst.iter().map(|frame| Seen::read(table.bytes(frame))).collect();
        for flow in seen.iter_mut().filter_map(|seen| seen.flow.as_mut()) {
            flow.place = self.flows.place_of(flow.hash);
        }
        for flow in seen.iter_mut().filter_map(|seen| seen.flow.as_mut()) {
            flow.place = flow.place.and_then(|place| self.flows.holds(place, &flow.key));
        }
        for (frame, seen) in burst.iter().zip(&seen) {
            decided.push(self.verdict(seen, table.bytes(frame), table.slot(frame).wire_len, side, now, counts));
        }
    }

    /// The verdict on one frame: cached with its flow, or made now.
    #[inline]
    fn verdict(
        &mut self,
        seen: &Seen,
        bytes: &[u8],
        wire_len: u32,
        side: Side,
        now: Nanos,
        counts: &IngressCounts,
    ) -> Decision {
        let Judge { flows, records, policy } = self;
        let packet = &seen.packet;
        let Some(FlowSeen { key, direction, hash, place }) = &seen.flow else {
            return Decision { verdict: policy.classifier.judge(packet, bytes, side), flow_hash: 0 };
        };
        let flow = flows.lookup_at(*place, key, *direction, *hash, now, |record| {
            if let Some(records) = records
                && records.push(record).is_err()
            {
                counts.records_lost.add(1);
            }
        });
        // A verdict that no rule can change with the marking holds for frames of any marking.
        let dscp = if policy.classifier.uses_dscp() { packet.dscp() } else { 0 };
        let verdict = match flow.verdict(policy.epoch, dscp) {
            Some(verdict) => {
                counts.flow_hits.add(1);
                verdict
            }
            None => {
                counts.flow_misses.add(1);
                let verdict = policy.classifier.judge(packet, bytes, side);
                flow.judged(verdict, policy.epoch, dscp);
                verdict
            }
        };
        flow.count(*direction, wire_len, now);
        Decision { verdict, flow_hash: (hash >> 32) as u32 ^ *direction as u32 }
    }
}

/// What was decided about a frame.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// A hash that is equal for frames of one flow in one direction; zero without a flow.
    pub flow_hash: u32,
}

/// The decisions about a burst, in its order.
pub type Decisions = ArrayVec<Decision, BURST>;

/// What was read of a frame.
struct Seen {
    packet: Packet,
    flow: Option<FlowSeen>,
}

/// The flow of a frame, and where it stands in the table.
struct FlowSeen {
    key: Key,
    direction: Direction,
    hash: u64,
    place: Option<Place>,
}

impl Seen {
    #[inline]
    fn read(frame: &[u8]) -> Seen {
        let packet = Packet::parse(frame);
        let flow = Key::of(&packet, frame).map(|(key, direction)| {
            let hash = key.hash(FLOW_SEED);
            FlowSeen { key, direction, hash, place: None }
        });
        Seen { packet, flow }
    }
}
