//! The end of a wire: what it holds leaves while there is time, and the rest is dropped and counted.

use super::drop::DropReason;
use super::{Egress, Ingress};
use crate::port::{Rx, Tx};
use crate::time::Clock;
use crate::units::Nanos;

/// Receives what the ports still hold, lets the queues run empty for at most `limit`, then drops the rest and collects what
/// came home.
///
/// The ports get no frames to receive into, so that what arrives meanwhile can't make this last. Only frames that a port has
/// begun to send and isn't done with are then not at home.
pub fn drain<R: Rx, T: Tx>(ingress: &mut Ingress<R>, egress: &mut Egress<T>, clock: &impl Clock, limit: Nanos) {
    let start = clock.now();
    ingress.recover(start);
    egress.recover(start);
    let mut now = start;
    while now.since(start) < limit {
        let received = ingress.receive(now, clock);
        egress.turn(now, clock);
        if received == 0 && egress.is_empty() {
            break;
        }
        now = clock.now();
    }
    ingress.drop_held(now, DropReason::Stopped);
    egress.stop(now);
    ingress.collect();
}
