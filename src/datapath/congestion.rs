//! What egress does with a frame that has stood for too long: a mark where its ends understand one, or a drop.

use super::counters::EgressCounts;
use super::drop::DropReason;
use crate::frame::{Frame, Owner, Returns, Table};
use crate::qos::Congested;
use crate::wire::{Packet, mark};

/// Marks, drops and counts what a tree picks.
pub(super) struct Signals<'a> {
    pub(super) table: &'a Table,
    pub(super) counts: &'a EgressCounts,
    pub(super) returns: &'a mut Returns,
}

impl Congested for Signals<'_> {
    /// Sets CE where the packet is ECN-capable (RFC 3168): rare enough to read the frame again.
    #[cold]
    fn mark(&mut self, frame: &mut Frame) -> bool {
        let bytes = self.table.bytes_mut(frame);
        let marked = Packet::parse(bytes).ip_offset().is_some_and(|ip| mark::set_ce(bytes, ip));
        if marked {
            let slot = self.table.slot(frame);
            self.counts.marked[slot.side as usize][usize::from(slot.class)].add(1);
        }
        marked
    }

    #[cold]
    fn drop(&mut self, frame: Frame) {
        let slot = self.table.slot(&frame);
        self.counts.dropped.add(slot.side, slot.class, DropReason::Aqm, slot.wire_len);
        self.returns.send(self.table, frame, Owner::Egress);
    }
}
