//! The halves on two threads, by the real clock, asleep whenever there is nothing to do.

use std::io::ErrorKind;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tidegate::datapath::counters::{EgressCounts, IngressCounts, Volume};
use tidegate::datapath::drain::drain;
use tidegate::datapath::idle::Idle;
use tidegate::datapath::report::{self, Asker, EgressReport, IngressReport};
use tidegate::datapath::worker::Worker;
use tidegate::frame::{Burst, Frame, Home, Owner, Side, Table};
use tidegate::port::memory::MemoryTx;
use tidegate::port::{Rx, RxLosses};
use tidegate::time::{Clock, MonotonicClock};
use tidegate::units::Nanos;

use crate::bridge::{Size, halves, policy, settled};
use crate::traffic::{BACKGROUND, FILE, Random, Talk, VIDEO, VOICE, WEB};

/// How long a test may take before it is taken for stuck.
const WATCHDOG: Duration = Duration::from_secs(120);

/// A receiving half that a descriptor wakes, as it does on a network card: each datagram is a frame.
struct SocketRx {
    socket: UnixDatagram,
    lent: Vec<Frame>,
    losses: RxLosses,
}

impl SocketRx {
    /// The port, and where to send what it receives.
    fn new() -> (SocketRx, UnixDatagram) {
        let (socket, sender) = UnixDatagram::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        (SocketRx { socket, lent: Vec::new(), losses: RxLosses::default() }, sender)
    }
}

impl Rx for SocketRx {
    fn receive(&mut self, table: &Table, _now: Nanos, burst: &mut Burst) {
        let mut bytes = [0; 2_048];
        while !burst.is_full() {
            let len = match self.socket.recv(&mut bytes) {
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            };
            let Some(mut frame) = self.lent.pop() else {
                self.losses.fill_empty += 1;
                continue;
            };
            table.write(&mut frame, &bytes[..len], len as u32);
            table.pass(&frame, Owner::Fill, Owner::Ingress);
            burst.push(frame);
        }
    }

    fn refill(&mut self, table: &Table, home: &mut Home) {
        while self.lent.len() < 64
            && let Some(frame) = home.take()
        {
            table.pass(&frame, Owner::Home, Owner::Fill);
            self.lent.push(frame);
        }
    }

    fn lent(&self) -> u32 {
        self.lent.len() as u32
    }

    fn losses(&self) -> RxLosses {
        self.losses
    }

    fn fd(&self) -> Option<RawFd> {
        Some(self.socket.as_raw_fd())
    }
}

/// A bridge whose halves run on two threads.
struct Running {
    table: Arc<Table>,
    senders: [UnixDatagram; 2],
    received: Arc<IngressCounts>,
    sent: Arc<EgressCounts>,
    ingress_asker: Asker<IngressReport>,
    egress_asker: Asker<EgressReport>,
    /// Reports that were checked, of ingress and of egress.
    reports: [u64; 2],
    clock: MonotonicClock,
    stop: Arc<AtomicBool>,
    threads: [JoinHandle<Worker<SocketRx, MemoryTx>>; 2],
}

impl Running {
    fn start(text: &str, frames: u32, ring: usize) -> Running {
        let [(inside, to_inside), (outside, to_outside)] = Side::BOTH.map(|_| SocketRx::new());
        let clock = MonotonicClock::start();
        let size = Size { frames, ring, max_frame: [1_514; 2], ..Size::default() };
        let tx = [MemoryTx::new(64), MemoryTx::new(64)];
        let (table, ingress, egress) = halves(policy(text), &size, [inside, outside], tx);
        let (ingress_asker, desk) = report::desk();
        let ingress = ingress.answering(desk);
        let (egress_asker, desk) = report::desk();
        let egress = egress.answering(desk);
        let (received, sent) = (Arc::clone(ingress.counts()), Arc::clone(egress.counts()));
        let beds = [Idle::new(ingress.fds(), false).unwrap(), Idle::new([], false).unwrap()];
        let bell = beds[1].bell();
        let [ingress_bed, egress_bed] = beds;
        let workers = [
            Worker::new(vec![(ingress, Some(bell))], Vec::new(), ingress_bed),
            Worker::new(Vec::new(), vec![egress], egress_bed),
        ];
        let stop = Arc::new(AtomicBool::new(false));
        let threads = workers.map(|worker| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || worker.run(&clock, &stop))
        });
        let senders = [to_inside, to_outside];
        Running { table, senders, received, sent, ingress_asker, egress_asker, reports: [0; 2], clock, stop, threads }
    }

    /// Frames that have left or were dropped.
    fn done(&self) -> u64 {
        self.sent.completed.read() + self.sent.dropped.total() + self.received.dropped.total()
    }

    /// Asks both halves how they are, and checks what they have answered since the last time.
    fn check_reports(&mut self) {
        self.ingress_asker.ask();
        self.egress_asker.ask();
        if let Some(report) = self.ingress_asker.answer() {
            assert!(report.counts.balanced(), "{report:?}");
            assert_eq!(report.frames, u64::from(self.table.frames()));
            self.reports[0] += 1;
            self.ingress_asker.give_back(report);
        }
        if let Some(report) = self.egress_asker.answer() {
            let queued: Volume = report.queued.iter().flatten().copied().sum();
            assert!(report.counts.balanced(queued.frames, report.in_transmit.iter().sum()), "{report:?}");
            self.reports[1] += 1;
            self.egress_asker.give_back(report);
        }
    }

    /// Stops both workers, lets the queues run empty, and checks that every frame is home.
    fn finish(self) -> tidegate::telemetry::Account {
        self.stop.store(true, Ordering::Relaxed);
        let [ingress, egress] = self.threads.map(|thread| thread.join().expect("the worker ends in peace"));
        let (mut ingresses, mut egresses) = (ingress.ingresses, egress.egresses);
        let (mut ingress, mut egress) = (ingresses.remove(0).0, egresses.remove(0));
        while ingress.turn(self.clock.now(), &self.clock) > 0 {}
        drain(&mut ingress, &mut egress, &self.clock, Nanos::from_millis(5));
        egress.turn(self.clock.now(), &self.clock);
        settled(&self.table, &mut ingress, &mut egress, self.clock.now())
    }
}

/// Runs `test` and fails if it doesn't end.
fn watched(test: impl FnOnce() + Send + 'static) {
    let (done, ended) = channel();
    let thread = thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    match ended.recv_timeout(WATCHDOG) {
        Err(RecvTimeoutError::Timeout) => panic!("stuck: nothing has ended after {WATCHDOG:?}"),
        Ok(()) | Err(RecvTimeoutError::Disconnected) => {}
    }
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn frames_are_conserved_between_two_threads() {
    watched(|| {
        let mut running = Running::start("download = \"200mbit\"\nupload = \"100mbit\"\nqueue = \"2ms\"", 500, 32);
        let long = std::env::var("TIDEGATE_LONG").as_deref() == Ok("1");
        let count = if long { 2_000_000 } else { 100_000 };
        let seed = running.clock.now().0;
        println!("seed {seed}, {count} frames");
        let mut random = Random(seed);
        for n in 0..count {
            let side = random.of(&Side::BOTH);
            let talk =
                Talk { client: random.below(16) as u16, ..Talk::to(random.of(&[VOICE, VIDEO, WEB, FILE, BACKGROUND])) };
            let frame = talk.frame(side, random.of(&[64, 300, 1_514, 1_600]), n);
            running.senders[side as usize].send(&frame).unwrap();
            if n % 64 == 0 {
                running.check_reports();
            }
            // Now and then long enough for both workers to fall asleep.
            if random.below(2_000) == 0 {
                let until = running.clock.now() + Nanos(random.below(3_000_000));
                while running.clock.now() < until {
                    thread::yield_now();
                }
            }
        }
        let reports = running.reports;
        let account = running.finish();
        println!("{account}\n{reports:?} reports");
        assert!(reports.into_iter().all(|reports| reports > 10), "{reports:?} reports of ingress and egress");
        let before_us: u64 = account.ports.iter().map(|port| port.lost_fill_empty).sum();
        assert_eq!(account.balance.received + before_us, count);
    });
}

/// One frame at a time, each sent at another phase of falling asleep: whoever sleeps through a bell or a frame finds it
/// only when his longest sleep of 25 ms is over.
#[test]
fn no_frame_waits_for_the_end_of_a_sleep() {
    watched(|| {
        let running = Running::start("", 500, 32);
        let (mut overslept, rounds) = (0, 1_000);
        for n in 0..rounds {
            let phase = running.clock.now() + Nanos(n % 100 * 2_000);
            while running.clock.now() < phase {
                std::hint::spin_loop();
            }
            let side = Side::BOTH[n as usize % 2];
            let start = running.clock.now();
            running.senders[side as usize].send(&Talk::to(VOICE).frame(side, 100, n)).unwrap();
            while running.done() <= n {
                thread::yield_now();
            }
            overslept += u64::from(running.clock.now().since(start) > Nanos::from_millis(20));
        }
        println!("{overslept} of {rounds} frames took more than 20 ms");
        assert!(overslept < rounds / 10, "{overslept} of {rounds} frames took more than 20 ms");
        let account = running.finish();
        assert_eq!((account.balance.completed, account.balance.dropped), (rounds, 0));
    });
}
