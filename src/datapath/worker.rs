//! A thread that turns the halves: both on one core, or one each on two.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::egress::{Agenda, Egress};
use super::idle::{Bell, Idle};
use super::ingress::Ingress;
use crate::port::{Rx, Tx};
use crate::time::Clock;
use crate::units::Nanos;

/// A worker that hasn't turned for this long has stalled: what it holds is older than what went past it meanwhile. Less than
/// the time after which the kernel's program takes frames past a queue (100 ms), so that no such time goes unnoticed.
pub const STALL: Nanos = Nanos::from_millis(80);

/// How often a port that holds frames is looked at when nothing else happens: nobody announces completions.
const COMPLETION_CHECK: Nanos = Nanos::from_micros(200);

/// One or both halves of a wire, and the bed of the thread that turns them.
#[derive(Debug)]
pub struct Worker<R, T> {
    /// The receiving half, if it is this worker's.
    pub ingress: Option<Ingress<R>>,
    /// The transmitting half, if it is this worker's.
    pub egress: Option<Egress<T>>,
    idle: Idle,
    /// Rung after each turn that pushed frames for another worker's egress.
    ring_after_push: Option<Bell>,
}

impl<R: Rx, T: Tx> Worker<R, T> {
    /// A worker over the halves it is given; `ring_after_push` wakes the worker that has the egress half, if it is another.
    pub fn new(
        ingress: Option<Ingress<R>>,
        egress: Option<Egress<T>>,
        idle: Idle,
        ring_after_push: Option<Bell>,
    ) -> Worker<R, T> {
        Worker { ingress, egress, idle, ring_after_push }
    }

    /// Turns until `stop` is set, then gives the halves back as they are.
    pub fn run(mut self, clock: &impl Clock, stop: &Arc<AtomicBool>) -> Worker<R, T> {
        while !stop.load(Ordering::Relaxed) {
            let now = clock.now();
            let agenda = self.turn(now, clock);
            if agenda.moved > 0 {
                self.idle.worked();
                continue;
            }
            let wake = wake_at(&agenda, now);
            if !self.idle.should_sleep(now, wake) {
                std::hint::spin_loop();
                continue;
            }
            self.idle.announce();
            if let Some(ingress) = &mut self.ingress {
                ingress.before_sleep();
            }
            // Look once more: what came before the announcement rang no bell.
            let now = clock.now();
            let agenda = self.turn(now, clock);
            if agenda.moved > 0 {
                self.idle.retract();
                self.idle.worked();
                continue;
            }
            self.idle.sleep(now, wake_at(&agenda, now));
        }
        self
    }

    /// One turn of what this worker has.
    #[inline]
    fn turn(&mut self, now: Nanos, clock: &impl Clock) -> Agenda {
        let mut agenda = Agenda { moved: 0, departure: None, in_transmit: false };
        if let Some(ingress) = &mut self.ingress {
            let received = ingress.turn(now);
            agenda.moved += received;
            if received > 0
                && let Some(bell) = &self.ring_after_push
            {
                bell.ring();
            }
        }
        if let Some(egress) = &mut self.egress {
            let own = egress.turn(now, clock);
            agenda.moved += own.moved;
            agenda.departure = own.departure;
            agenda.in_transmit = own.in_transmit;
        }
        agenda
    }
}

/// When a worker must look again even if nobody wakes it.
fn wake_at(agenda: &Agenda, now: Nanos) -> Option<Nanos> {
    let completion = agenda.in_transmit.then(|| now + COMPLETION_CHECK);
    [agenda.departure, completion].into_iter().flatten().min()
}
