//! The same datapath over a capture, in virtual time: exact to the bit on the same build.
//!
//! One thread turns both halves. Time jumps from one event to the next: an arrival, a departure that the shaper allows, the
//! end of a transmission. At the end the queues run empty at the rates of the policy.

use std::sync::Arc;

use crate::classify::Verdict;
use crate::datapath::bands::bands;
use crate::datapath::{Egress, Ingress, Judge, Policy};
use crate::flow::{FlowTable, Record};
use crate::frame::{Side, Table, homes};
use crate::port::{Rx, Tx};
use crate::telemetry::{Account, Times};
use crate::units::Nanos;

/// The frames of a replay: what the queues of both directions may hold, and a margin for what is on its way.
const MARGIN: u32 = 1_024;

/// The frames that wait in a ring between the halves; a turn brings one arrival, so that few are needed.
const RING: usize = 256;

/// Flows that are known at the same time.
const FLOWS: usize = 1 << 17;

/// Flow records that wait to be taken, per turn: at most one flow leaves the table per arrival.
const RECORDS: usize = 256;

/// Runs everything that `inside` and `outside` deliver through a datapath under `policy`, until nothing is left in it.
///
/// `chunk` is the longest frame. Each flow's record goes to `flow` when it leaves the table or at the end, in order.
pub fn replay<R: Rx, T: Tx>(
    rx: [R; 2],
    tx: [T; 2],
    chunk: u32,
    policy: Policy,
    mut flow: impl FnMut(Record<Verdict>),
) -> Account {
    let policy = Arc::new(policy);
    let frames = policy.trees.iter().map(|tree| tree.max_frames).sum::<u32>() + MARGIN;
    let (table, frames) = Table::heap(frames, chunk);
    let table = Arc::new(table);
    let (mut home, mut returns) = homes(frames, 1, 1);
    let (sender, receiver) = bands(RING);
    let ports = Side::BOTH.into_iter().zip(rx).collect();
    let judge = Judge::new(FlowTable::new(FLOWS), Arc::clone(&policy));
    let (home, returns) = (home.remove(0), returns.remove(0));
    let mut ingress = Ingress::new(Arc::clone(&table), ports, home, sender, judge);
    let (records, mut finished) = rtrb::RingBuffer::new(RECORDS);
    ingress.judge().report_flows(records);

    let start = ingress.next_arrival().unwrap_or_default();
    let mut egress = Egress::new(table, receiver, returns, tx, [chunk; 2], &policy, start);
    let mut now = start;
    loop {
        while ingress.turn(now, &now) + egress.turn(now, &now).moved > 0 {
            while let Ok(record) = finished.pop() {
                flow(record);
            }
        }
        let events = [ingress.next_arrival(), egress.next_departure(), egress.next_completion()];
        match events.into_iter().flatten().filter(|at| *at < Nanos::MAX).min() {
            None => break,
            Some(next) => now = next.max(now + Nanos(1)),
        }
    }
    ingress.judge().flows().drain().for_each(flow);
    Account::take(&mut ingress, &mut egress, &mut Times::default(), now, now.since(start))
}
