//! The protocol by which a worker falls asleep, checked in every order that the memory model allows.
//!
//! What is checked is the source that ships, with the model checker's atomics in the place of its own. A wake-up that is lost
//! leaves the sleeper waiting for ever, which the checker reports as a deadlock.

// The atomics of the model.
mod sync {
    pub(super) use loom::sync::atomic::{AtomicBool, Ordering, fence};
}
// The bell that ships.
#[path = "../src/datapath/bell.rs"]
pub mod bell;

use std::sync::Arc;

use bell::{Bell, Wake};
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;

/// An event descriptor: a wake before the sleep ends the sleep that comes.
struct Event(Arc<(Mutex<bool>, Condvar)>);

impl Event {
    fn wait(&self) {
        let (rung, change) = &*self.0;
        let mut is_rung = rung.lock().unwrap();
        while !*is_rung {
            is_rung = change.wait(is_rung).unwrap();
        }
        *is_rung = false;
    }
}

impl Wake for Event {
    fn wake(&self) {
        let (rung, change) = &*self.0;
        *rung.lock().unwrap() = true;
        change.notify_one();
    }
}

/// A worker that sleeps as [`tidegate::datapath::worker::Worker`] does until it has seen the work of every one of `ringers`
/// threads, each of which brings one piece and rings.
fn work_is_always_found(ringers: usize, preemptions: Option<usize>) {
    let mut checker = loom::model::Builder::new();
    checker.preemption_bound = preemptions;
    checker.check(move || {
        let event = Arc::new((Mutex::new(false), Condvar::new()));
        let bell = Bell::new(Event(Arc::clone(&event)));
        let work: Vec<Arc<AtomicBool>> = (0..ringers).map(|_| Arc::new(AtomicBool::new(false))).collect();
        let threads: Vec<_> = work
            .iter()
            .map(|piece| {
                let (piece, bell) = (Arc::clone(piece), bell.clone());
                thread::spawn(move || {
                    piece.store(true, Ordering::Relaxed);
                    bell.ring();
                })
            })
            .collect();
        // As much as the worker's loop does; a piece of work is visible if the ring between the halves would show it.
        let bed = Event(event);
        let mut found = vec![false; ringers];
        while found.contains(&false) {
            bell.announce();
            let mut moved = false;
            for (found, piece) in found.iter_mut().zip(&work) {
                if !*found && piece.load(Ordering::Relaxed) {
                    (*found, moved) = (true, true);
                }
            }
            if !moved {
                bed.wait();
            }
            bell.retract();
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn one_ringer_never_rings_in_vain() {
    work_is_always_found(1, None);
}

/// Every order of three threads is too many; lost wake-ups of this kind need few changes from one thread to another that isn't
/// blocked.
#[test]
fn nor_do_two_at_once() {
    work_is_always_found(2, Some(3));
}
