//! Who gets the frames of a port: the socket of a queue that is served, or the kernel.

use std::time::{Duration, Instant};

use tidegate::port::Rx;
use tidegate::port::xdp::{Bypass, Counts, Error, Options, STALE, Wire, bypassed, detach, mute_all, set_bypass};

use crate::forwarder::small;
use crate::lab::{Peer, in_lab, run, wait_until};

/// A wire whose inside port gets frames and whose sockets nobody reads, with the two ends of that port's kernel side.
struct Gate {
    wire: Wire,
    peer: Peer,
    kernel: Peer,
    sent: u64,
}

impl Gate {
    fn open(options: &Options) -> Gate {
        let wire = Wire::open("port0", "port1", options).unwrap_or_else(|error| panic!("{error}"));
        Gate { wire, peer: Peer::new("peer0"), kernel: Peer::new("port0"), sent: 0 }
    }

    fn counts(&self) -> Counts {
        self.wire.programs[0].counts().unwrap()
    }

    /// Sends a frame, and returns the counts when the program has seen it. All frames are counted, each once.
    fn send(&mut self) -> Counts {
        self.peer.send(&[0x88; 60]);
        self.sent += 1;
        wait_until("program run", || total(self.counts()) >= self.sent);
        assert_eq!(total(self.counts()), self.sent);
        self.counts()
    }

    /// Whether the kernel gets the next frame; the socket gets it, or nobody, if not.
    fn passes(&mut self) -> bool {
        let before = self.counts();
        let after = self.send();
        let passed = |counts: Counts| counts.bypassed + counts.stale + counts.no_socket;
        if passed(after) == passed(before) {
            assert!(self.kernel.receive().is_none(), "the kernel has a frame that did not pass");
            return false;
        }
        wait_until("frame at the kernel", || self.kernel.receive().is_some());
        true
    }

    fn beat(&mut self) {
        self.wire.rx[0][0].beat();
    }
}

fn total(counts: Counts) -> u64 {
    counts.redirected + counts.bypassed + counts.stale + counts.no_socket + counts.closed
}

#[test]
fn without_a_beat_the_kernel_gets_every_frame() {
    in_lab(1, || {
        let mut gate = Gate::open(&small());
        assert!(gate.passes() && gate.passes());
        assert_eq!(gate.counts(), Counts { stale: 2, ..Counts::default() });
        gate.beat();
        assert!(!gate.passes());
        assert_eq!(gate.counts(), Counts { stale: 2, redirected: 1, ..Counts::default() });
    });
}

#[test]
fn a_beat_is_fresh_for_a_tenth_of_a_second() {
    in_lab(1, || {
        let mut gate = Gate::open(&small());
        gate.beat();
        let before_first = Instant::now();
        assert!(!gate.passes());
        let after_first = Instant::now();
        let mut last = after_first;
        let first_stale = loop {
            let sending = Instant::now();
            if gate.passes() {
                break Instant::now();
            }
            last = sending;
        };
        // The program's clock goes in ticks, which may come late.
        let stale = Duration::from_nanos(STALE.0);
        assert!(first_stale - before_first > stale / 2, "{:?}", first_stale - before_first);
        assert!(last - after_first < stale * 2, "{:?}", last - after_first);
        assert!(gate.passes(), "and it stays so");
        gate.beat();
        assert!(!gate.passes(), "until the next beat");
    });
}

#[test]
fn each_queue_has_its_own_beat() {
    in_lab(4, || {
        let mut gate = Gate::open(&small());
        // A frame without ports or addresses comes to one queue, always the same; which is the veth's affair.
        let served = (0..4).find(|queue| {
            gate.wire.rx[0][*queue].beat();
            !gate.passes()
        });
        let served = served.expect("one of the queues");
        let others = (0..4).filter(|queue| *queue != served);
        wait_until("end of the beat", || gate.passes());
        others.for_each(|queue| gate.wire.rx[0][queue].beat());
        assert!(gate.passes());
    });
}

#[test]
fn a_muted_port_passes_at_once() {
    in_lab(1, || {
        let mut gate = Gate::open(&small());
        gate.beat();
        assert!(!gate.passes());
        gate.wire.programs[0].mute();
        gate.beat();
        assert!(gate.passes());
        gate.wire.programs[0].unmute();
        gate.beat();
        assert!(!gate.passes());
    });
}

/// Run by the next test in a process of its own, because it mutes whatever else that has; does nothing otherwise.
#[test]
fn mute_all_as_the_child_of_another_test() {
    if std::env::var_os("TIDEGATE_TEST_CHILD").is_none() {
        return;
    }
    in_lab(1, || {
        let mut gate = Gate::open(&small());
        gate.beat();
        assert!(!gate.passes());
        mute_all();
        gate.beat();
        assert!(gate.passes());
        println!("passed after mute_all");
    });
}

#[test]
fn a_process_that_panics_can_mute_all_its_ports() {
    in_lab(1, || {
        let child = std::env::current_exe().unwrap();
        let name = "beat::mute_all_as_the_child_of_another_test";
        let out = run("env", &format!("TIDEGATE_TEST_CHILD=1 {} --exact {name} --nocapture", child.display()));
        assert!(out.contains("passed after mute_all"), "{out}");
    });
}

#[test]
fn a_bypassed_port_passes_whatever_beats_until_that_is_taken_back() {
    in_lab(1, || {
        let mut gate = Gate::open(&small());
        gate.beat();
        assert!(!gate.passes());
        let both = |on| ["port0", "port1"].map(|port| Bypass { interface: port.to_owned(), on });
        // By name and without names, as another process would; only what is attached counts.
        assert_eq!(set_bypass(&["port0".to_owned(), "port1".to_owned()], true).unwrap(), both(true));
        assert_eq!(gate.wire.programs.each_ref().map(|program| program.bypassed().unwrap()), [true, true]);
        gate.beat();
        assert!(gate.passes());
        assert_eq!(gate.counts().bypassed, 1);
        assert_eq!(set_bypass(&[], false).unwrap(), both(false));
        assert_eq!(bypassed(&[]).unwrap(), both(false));
        gate.beat();
        assert!(!gate.passes());
        gate.wire.programs[0].set_bypass(true).unwrap();
        assert_eq!(bypassed(&["port0".to_owned()]).unwrap(), both(true)[..1]);
    });
}

#[test]
fn a_restart_keeps_the_bypass() {
    in_lab(1, || {
        for mode in ["native", "generic"] {
            drop(Gate::open(&small()));
            set_bypass(&["port1".to_owned()], true).unwrap();
            let mode = (mode == "generic").then_some(tidegate::port::xdp::Mode::Generic);
            let gate = Gate::open(&Options { mode, ..small() });
            assert_eq!(gate.wire.programs.each_ref().map(|program| program.bypassed().unwrap()), [false, true]);
        }
        detach(&[]).unwrap();
        let gate = Gate::open(&small());
        assert!(!gate.wire.programs[1].bypassed().unwrap(), "not after detach");
    });
}

#[test]
fn what_is_no_port_of_ours_cannot_be_bypassed() {
    in_lab(1, || {
        let _gate = Gate::open(&small());
        let error = set_bypass(&["peer0".to_owned(), "port1".to_owned()], true).unwrap_err();
        assert!(matches!(&error, Error::NoProgram(name) if name == "peer0"), "{error}");
        assert!(error.to_string().contains("tidegate run"), "{error}");
        assert!(bypassed(&["port1".to_owned()]).unwrap()[0].on, "what could be done was done");
        assert!(matches!(bypassed(&["nowhere".to_owned()]), Err(Error::NoInterface { .. })));
        run("ip", "link set port0 xdp off");
        assert_eq!(bypassed(&[]).unwrap().len(), 1, "a state file is no program");
    });
}

#[test]
fn a_closed_port_drops_what_nobody_serves_unless_bypassed() {
    in_lab(1, || {
        let mut gate = Gate::open(&Options { closed: true, ..small() });
        assert!(!gate.passes(), "no beat");
        assert_eq!(gate.counts(), Counts { closed: 1, ..Counts::default() });
        gate.beat();
        assert!(!gate.passes());
        assert_eq!(gate.counts(), Counts { closed: 1, redirected: 1, ..Counts::default() });
        gate.wire.programs[0].mute();
        assert!(!gate.passes());
        assert_eq!(gate.counts(), Counts { closed: 2, redirected: 1, ..Counts::default() });
        set_bypass(&["port0".to_owned()], true).unwrap();
        assert!(gate.passes());
        assert_eq!(gate.counts(), Counts { closed: 2, redirected: 1, bypassed: 1, ..Counts::default() });
    });
}
