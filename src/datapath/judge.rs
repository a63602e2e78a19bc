//! The verdict of a frame: cached with its flow, or made now.

use std::sync::Arc;

use super::counters::IngressCounts;
use super::policy::Policy;
use crate::classify::Verdict;
use crate::flow::{FlowTable, Key, Record};
use crate::frame::Side;
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

    /// The verdict on a frame of `wire_len` bytes that came in at `side`, and the hash of its flow in its direction.
    #[inline]
    pub fn verdict(
        &mut self,
        frame: &[u8],
        wire_len: u32,
        side: Side,
        now: Nanos,
        counts: &IngressCounts,
    ) -> (Verdict, u32) {
        let Judge { flows, records, policy } = self;
        let packet = Packet::parse(frame);
        let Some((key, direction)) = Key::of(&packet, frame) else {
            return (policy.classifier.judge(&packet, frame, side), 0);
        };
        let hash = key.hash(FLOW_SEED);
        let flow = flows.lookup(&key, direction, hash, now, |record| {
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
                let verdict = policy.classifier.judge(&packet, frame, side);
                flow.judged(verdict, policy.epoch, dscp);
                verdict
            }
        };
        flow.count(direction, wire_len, now);
        (verdict, (hash >> 32) as u32 ^ direction as u32)
    }
}
