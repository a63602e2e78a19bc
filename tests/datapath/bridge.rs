//! Both halves between two ports, and the loop that turns them.

use std::sync::Arc;

use tidegate::config::{self, compile};
use tidegate::datapath::bands::bands;
use tidegate::datapath::{Egress, Ingress, Judge, Policy};
use tidegate::flow::FlowTable;
use tidegate::frame::{Owner, Side, Table, homes};
use tidegate::port::sim::{Cable, Delivery, SimRx, SimTx};
use tidegate::port::{Line, Rx, Tx};
use tidegate::telemetry::{Account, Times};
use tidegate::units::Nanos;

use crate::traffic::Offer;

/// The policy that `text` means, below the names of the interfaces.
pub(crate) fn policy(text: &str) -> Policy {
    let text = format!("[[wire]]\ninside = \"a\"\noutside = \"b\"\n{text}");
    let config = config::from_str("test.toml", &text).unwrap_or_else(|errors| panic!("{errors}"));
    compile::policy(&config, &config.wires[0], 1)
}

/// How large everything is.
pub(crate) struct Size {
    /// Frames in the arena.
    pub(crate) frames: u32,
    /// Frames in each ring between the halves.
    pub(crate) ring: usize,
    /// Frames that each receiving port borrows.
    pub(crate) fill: usize,
    /// The longest frame that may leave by each side.
    pub(crate) max_frame: [u32; 2],
}

impl Default for Size {
    fn default() -> Size {
        Size { frames: 20_000, ring: 256, fill: 128, max_frame: [1_518; 2] }
    }
}

/// A line without a limit.
pub(crate) fn free_line(_: Side, cable: Cable) -> SimTx {
    SimTx::new(Line::unlimited(256), cable)
}

/// Both halves over simulated ports, turned by one thread.
pub(crate) struct Bridge {
    pub(crate) ingress: Ingress<SimRx>,
    pub(crate) egress: Egress<SimTx>,
    /// By the side at which frames come in.
    pub(crate) cables_in: [Cable; 2],
    /// By the side by which they leave.
    pub(crate) cables_out: [Cable; 2],
    pub(crate) table: Arc<Table>,
    pub(crate) now: Nanos,
}

impl Bridge {
    pub(crate) fn new(policy: Policy, size: &Size, mut line: impl FnMut(Side, Cable) -> SimTx) -> Bridge {
        let (cables_in, cables_out) =
            (Side::BOTH.map(|_| Cable::new(1 << 20)), Side::BOTH.map(|_| Cable::new(1 << 20)));
        let rx = Side::BOTH.map(|side| SimRx::new(cables_in[side as usize].clone(), size.fill));
        let tx = Side::BOTH.map(|side| line(side, cables_out[side as usize].clone()));
        let (table, ingress, egress) = halves(policy, size, rx, tx);
        Bridge { ingress, egress, cables_in, cables_out, table, now: Nanos::ZERO }
    }

    /// Sends what is offered at each side and turns both halves at every instant at which something happens, up to `until`
    /// or until nothing more will; `left` gets every frame with the side by which it left, in order for each side.
    pub(crate) fn run(
        &mut self,
        mut offers: [&mut dyn Iterator<Item = Offer>; 2],
        until: Nanos,
        mut left: impl FnMut(Side, Delivery),
    ) {
        let mut fed = [self.now; 2];
        loop {
            for ((cable, offers), fed) in self.cables_in.iter().zip(&mut offers).zip(&mut fed) {
                // One more than has arrived, so that the port knows when the next one comes.
                while *fed <= self.now
                    && let Some(Offer { at, bytes }) = offers.next()
                {
                    assert!(cable.push(at, &bytes));
                    *fed = at;
                }
            }
            while self.ingress.turn(self.now, &self.now) + self.egress.turn(self.now, &self.now).moved > 0 {}
            for side in Side::BOTH {
                while let Some(delivery) = self.cables_out[side as usize].pop(Nanos::MAX) {
                    left(side, delivery);
                }
            }
            let events = [self.ingress.next_arrival(), self.egress.next_departure(), self.egress.next_completion()];
            match events.into_iter().flatten().min() {
                Some(next) if next <= until => {
                    assert!(next > self.now, "{events:?} at {} of what was to be done by then", self.now);
                    self.now = next;
                }
                _ => break,
            }
        }
    }

    /// The account of a bridge in which nothing moves any more; see [`settled`].
    pub(crate) fn settled(mut self) -> Account {
        settled(&self.table, &mut self.ingress, &mut self.egress, self.now)
    }
}

/// Both halves of a wire between these ports at the beginning of time, and the table of their frames.
pub(crate) fn halves<R: Rx, T: Tx>(
    policy: Policy,
    size: &Size,
    rx: [R; 2],
    tx: [T; 2],
) -> (Arc<Table>, Ingress<R>, Egress<T>) {
    let policy = Arc::new(policy);
    let (table, frames) = Table::heap(size.frames, 2_048);
    let table = Arc::new(table);
    let (mut homes, mut returns) = homes(frames, 1, 1);
    let (sender, receiver) = bands(size.ring);
    let judge = Judge::new(FlowTable::new(1 << 10), Arc::clone(&policy));
    let back = returns.remove(0);
    let egress = Egress::new(Arc::clone(&table), receiver, back, tx, size.max_frame, &policy, Nanos::ZERO);
    let rx = Side::BOTH.into_iter().zip(rx).collect();
    let ingress = Ingress::new(Arc::clone(&table), rx, homes.remove(0), sender, judge);
    (table, ingress.feeding(Arc::clone(egress.counts())), egress)
}

/// The account of two halves in which nothing moves any more, `span` after they were made.
///
/// Fails unless every frame of `table` is at home or lent to be received into, and what came in has left or was dropped.
pub(crate) fn settled<R: Rx, T: Tx>(
    table: &Table,
    ingress: &mut Ingress<R>,
    egress: &mut Egress<T>,
    span: Nanos,
) -> Account {
    ingress.collect();
    let account = Account::take(ingress, egress, &mut Times::default(), span, span);
    assert_eq!((egress.queued(), egress.in_transmit(), egress.rings_empty()), (0, 0, true), "{account}");
    assert_eq!(account.balance.unexplained(), 0, "{account}");
    assert_eq!(account.balance.received, account.balance.completed + account.balance.dropped, "{account}");
    assert_all_home(table, ingress);
    account
}

/// Fails unless every frame of `table` is at home or lent to be received into.
pub(crate) fn assert_all_home<R: Rx>(table: &Table, ingress: &mut Ingress<R>) {
    ingress.collect();
    assert_eq!(ingress.idle_frames(), u64::from(table.frames()));
    if let Some(census) = table.census() {
        let mut expected = [0; 6];
        expected[Owner::Fill as usize] = ingress.ports().iter().map(|(_, port)| port.lent()).sum();
        expected[Owner::Home as usize] = table.frames() - expected[Owner::Fill as usize];
        assert_eq!(census, expected);
    }
}
