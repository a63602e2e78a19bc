//! The halves on two threads, by the real clock, asleep whenever there is nothing to do.

use std::io::ErrorKind;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tidegate::datapath::bands::bands;
use tidegate::datapath::counters::{EgressCounts, IngressCounts};
use tidegate::datapath::idle::Idle;
use tidegate::datapath::worker::Worker;
use tidegate::datapath::{Egress, Ingress, Judge};
use tidegate::flow::FlowTable;
use tidegate::frame::{Burst, Frame, Home, Owner, Side, Table, homes};
use tidegate::port::memory::MemoryTx;
use tidegate::port::{Rx, RxLosses};
use tidegate::time::{Clock, MonotonicClock};
use tidegate::units::Nanos;

use crate::bridge::{policy, settled};
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
    clock: MonotonicClock,
    stop: Arc<AtomicBool>,
    threads: [JoinHandle<Worker<SocketRx, MemoryTx>>; 2],
}

impl Running {
    fn start(text: &str, frames: u32, ring: usize) -> Running {
        let policy = Arc::new(policy(text));
        let (table, frames) = Table::heap(frames, 2_048);
        let table = Arc::new(table);
        let (mut homes, mut returns) = homes(frames, 1, 1);
        let (sender, receiver) = bands(ring);
        let [(inside, to_inside), (outside, to_outside)] = Side::BOTH.map(|_| SocketRx::new());
        let judge = Judge::new(FlowTable::new(1 << 10), Arc::clone(&policy));
        let clock = MonotonicClock::start();
        let rx = vec![(Side::Inside, inside), (Side::Outside, outside)];
        let ingress = Ingress::new(Arc::clone(&table), rx, homes.remove(0), sender, judge);
        let tx = [MemoryTx::new(64), MemoryTx::new(64)];
        let egress = Egress::new(Arc::clone(&table), receiver, returns.remove(0), tx, [1_514; 2], &policy, clock.now());
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
        Running { table, senders: [to_inside, to_outside], received, sent, clock, stop, threads }
    }

    /// Frames that have left or were dropped.
    fn done(&self) -> u64 {
        self.sent.completed.read() + self.sent.dropped.total() + self.received.dropped.total()
    }

    /// Stops both workers, lets the queues run empty, and checks that every frame is home.
    fn finish(self) -> tidegate::telemetry::Account {
        self.stop.store(true, Ordering::Relaxed);
        let [ingress, egress] = self.threads.map(|thread| thread.join().expect("the worker ends in peace"));
        let (mut ingresses, mut egresses) = (ingress.ingresses, egress.egresses);
        let (mut ingress, mut egress) = (ingresses.remove(0).0, egresses.remove(0));
        while ingress.turn(self.clock.now(), &self.clock) > 0 {}
        while egress.turn(self.clock.now(), &self.clock).moved > 0 {}
        egress.stop(self.clock.now());
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
        let running = Running::start("download = \"200mbit\"\nupload = \"100mbit\"\nqueue = \"2ms\"", 500, 32);
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
            // Now and then long enough for both workers to fall asleep.
            if random.below(2_000) == 0 {
                let until = running.clock.now() + Nanos(random.below(3_000_000));
                while running.clock.now() < until {
                    thread::yield_now();
                }
            }
        }
        let account = running.finish();
        println!("{account}");
        let before_us: u64 = account.ports.iter().map(|port| port.lost_fill_empty).sum();
        assert_eq!(account.balance.received + before_us, count);
    });
}

/// One frame at a time, each sent at another phase of falling asleep: whoever sleeps through a bell or a frame finds it
/// only when his longest sleep of 100 ms is over.
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
            overslept += u64::from(running.clock.now().since(start) > Nanos::from_millis(80));
        }
        println!("{overslept} of {rounds} frames took more than 80 ms");
        assert!(overslept < rounds / 10, "{overslept} of {rounds} frames took more than 80 ms");
        let account = running.finish();
        assert_eq!((account.balance.completed, account.balance.dropped), (rounds, 0));
    });
}
