//! A thread that turns halves: both of a wire, those of several wires, or one each on two cores.

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

/// When a port that holds frames is looked at again if nothing else happens: nobody announces completions. If nothing has
/// moved for longer, as long again: a port that sends nothing must not keep its worker busy.
const COMPLETION_CHECK: Nanos = Nanos::from_micros(200);

/// The halves that one thread turns, and the thread's bed.
#[derive(Debug)]
pub struct Worker<R, T> {
    /// The receiving halves; each with the bell of the worker that has its egress half, if that is another.
    pub ingresses: Vec<(Ingress<R>, Option<Bell>)>,
    /// The transmitting halves.
    pub egresses: Vec<Egress<T>>,
    idle: Idle,
    /// Builds for development can be told to fail, to see what becomes of the wire.
    #[cfg(debug_assertions)]
    fault: Arc<AtomicBool>,
}

impl<R: Rx, T: Tx> Worker<R, T> {
    /// A worker over the halves it is given, of which there may be none of either kind. The bell beside an ingress half
    /// wakes the worker that has its egress half, if that is another.
    pub fn new(ingresses: Vec<(Ingress<R>, Option<Bell>)>, egresses: Vec<Egress<T>>, idle: Idle) -> Worker<R, T> {
        Worker {
            ingresses,
            egresses,
            idle,
            #[cfg(debug_assertions)]
            fault: Arc::default(),
        }
    }

    /// Panics in the turn after `fault` is set. Release builds know no such thing.
    #[cfg(debug_assertions)]
    pub fn failing_on(self, fault: Arc<AtomicBool>) -> Worker<R, T> {
        Worker { fault, ..self }
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
            let wake = self.wake_at(&agenda, now);
            if !self.idle.should_sleep(now, wake) {
                std::hint::spin_loop();
                continue;
            }
            self.idle.announce();
            for (ingress, _) in &mut self.ingresses {
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
            self.idle.sleep(now, self.wake_at(&agenda, now));
        }
        self
    }

    /// One turn of what this worker has. Whatever a stall has made stale goes before any port hears that it is served.
    #[inline]
    fn turn(&mut self, now: Nanos, clock: &impl Clock) -> Agenda {
        #[cfg(debug_assertions)]
        assert!(!self.fault.load(Ordering::Relaxed), "the fault that was asked for");
        self.ingresses.iter_mut().for_each(|(ingress, _)| ingress.recover(now));
        self.egresses.iter_mut().for_each(|egress| egress.recover(now));
        let mut agenda = Agenda::default();
        for (ingress, bell) in &mut self.ingresses {
            ingress.beat(now);
            let received = ingress.turn(now, clock);
            agenda.moved += received;
            if received > 0
                && let Some(bell) = bell
            {
                bell.ring();
            }
        }
        for egress in &mut self.egresses {
            agenda.add(egress.turn(now, clock));
        }
        agenda
    }

    /// When this worker must look again even if nobody wakes it.
    fn wake_at(&self, agenda: &Agenda, now: Nanos) -> Option<Nanos> {
        let completion = agenda.in_transmit.then(|| now + self.idle.idle_for(now).max(COMPLETION_CHECK));
        [agenda.departure, completion].into_iter().flatten().min()
    }
}
