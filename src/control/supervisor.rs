//! Builds the wire, turns it until told to stop, and gives the last account.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use core_affinity::CoreId;

use crate::config::{self, Config, compile};
use crate::datapath::bands::{BANDS, bands};
use crate::datapath::drain::drain;
use crate::datapath::idle::Idle;
use crate::datapath::worker::Worker;
use crate::datapath::{Egress, Ingress, Judge, Policy};
use crate::flow::FlowTable;
use crate::frame::{Side, homes};
use crate::port::xdp::{self, Options, Wire, XdpRx, XdpTx};
use crate::telemetry::Snapshot;
use crate::time::{Clock, MonotonicClock};
use crate::units::Nanos;

/// The frames that wait in each ring between the halves: what a busy ingress brings while egress is away for a millisecond.
const RING: usize = 2_048;

/// Flows that are known at the same time.
const FLOWS: usize = 1 << 17;

/// What a frame may have beyond the MTU: an Ethernet header and one VLAN tag (`is_skb_forwardable` in the kernel's net/core/dev.c).
const LINK_HEADER: u32 = 18;

/// The nice value of workers. A real-time policy would let a worker that spins starve the kernel's own threads on its core.
const HIGHEST_PRIORITY: i32 = -20;

/// How long queues may run empty after the order to stop.
const DRAIN: Nanos = Nanos::from_millis(100);

/// Why the bridge could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The wire could not be opened.
    #[error(transparent)]
    Port(#[from] xdp::Error),
    /// A worker's event descriptors could not be made.
    #[error("can't make a worker's event descriptors: {0}")]
    Idle(#[source] std::io::Error),
    /// A worker's thread could not be started.
    #[error("can't start a worker's thread: {0}")]
    Thread(#[source] std::io::Error),
    /// The policy names a core that this machine doesn't have.
    #[error("core {wanted} is not there, or this process may not run on it; it runs on {}", list(.available))]
    NoSuchCore {
        /// The core that the policy names.
        wanted: usize,
        /// The cores on which this process runs.
        available: Vec<usize>,
    },
}

fn list(cores: &[usize]) -> String {
    cores.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

type XdpWorker = Worker<XdpRx, XdpTx>;

/// Runs the bridge that `config` describes until `stop` is set; returns the last account.
///
/// # Errors
///
/// If a port, a core or a thread is not to be had. Nothing is forwarded then.
pub fn run(config: &Config, stop: &Arc<AtomicBool>) -> Result<Snapshot, Error> {
    let cores = place(config)?;
    let policy = Arc::new(compile::policy(config, &config.wires[0], 1));
    let clock = MonotonicClock::start();
    let workers = build(config, &policy, cores.workers.len(), clock.now())?;
    if !core_affinity::set_for_current(cores.control) {
        tracing::warn!("could not pin control to core {}", cores.control.id);
    }
    let start = clock.now();
    let threads: Vec<_> = workers
        .into_iter()
        .zip(&cores.workers)
        .enumerate()
        .map(|(i, (worker, core))| spawn(i, worker, *core, clock, stop))
        .collect::<Result<_, _>>()?;
    tracing::info!(inside = config.wires[0].inside, outside = config.wires[0].outside, "forwarding");
    let workers: Vec<XdpWorker> =
        threads.into_iter().map(|thread| thread.join().expect("a worker that panics aborts the process")).collect();
    Ok(close(workers, &clock, start))
}

struct Placement {
    control: CoreId,
    workers: Vec<CoreId>,
}

/// The cores that the policy means, as far as this process may use them.
fn place(config: &Config) -> Result<Placement, Error> {
    let available = core_affinity::get_core_ids().unwrap_or_default();
    // What this process inherited is where it starts, not where it may go: whoever names a core means it.
    let find = |wanted: usize| {
        let core = CoreId { id: wanted };
        let trial = thread::spawn(move || core_affinity::set_for_current(core));
        if trial.join().unwrap_or(false) {
            return Ok(core);
        }
        Err(Error::NoSuchCore { wanted, available: available.iter().map(|core| core.id).collect() })
    };
    let workers = config.cores.workers_of(available.len()).into_iter().map(find).collect::<Result<_, _>>()?;
    Ok(Placement { control: find(config.cores.control)?, workers })
}

/// Opens the wire and divides it among the workers: all to one, or ingress to the first and egress to the second.
fn build(config: &Config, policy: &Arc<Policy>, workers: usize, now: Nanos) -> Result<Vec<XdpWorker>, Error> {
    let queued: u32 = policy.trees.iter().map(|tree| tree.max_frames).sum();
    let options = Options { egress_frames: queued + (BANDS * RING) as u32, ..Options::default() };
    let opened = Wire::open(&config.wires[0].inside, &config.wires[0].outside, &options)?;

    let (mut homes, mut returns) = homes(opened.frames, 1, 1);
    let (home, returns) = (homes.remove(0), returns.remove(0));
    let (sender, receiver) = bands(RING);
    let rx: Vec<(Side, XdpRx)> = Side::BOTH
        .into_iter()
        .zip(opened.rx)
        .flat_map(|(side, queues)| queues.into_iter().map(move |queue| (side, queue)))
        .collect();
    let judge = Judge::new(FlowTable::new(FLOWS), Arc::clone(policy));
    let max_frame = opened.mtu.map(|mtu| mtu + LINK_HEADER);
    let egress = Egress::new(Arc::clone(&opened.table), receiver, returns, opened.tx, max_frame, policy, now);
    let ingress = Ingress::new(opened.table, rx, home, sender, judge).feeding(Arc::clone(egress.counts()));

    let spin = config.cores.idle == config::Idle::Spin;
    let bed = |fds: Vec<_>| Idle::new(fds, spin).map_err(Error::Idle);
    let ingress_bed = bed(ingress.fds().collect())?;
    if workers == 1 {
        return Ok(vec![Worker::new(vec![(ingress, None)], vec![egress], ingress_bed)]);
    }
    let egress_bed = bed(Vec::new())?;
    let bell = egress_bed.bell();
    Ok(vec![
        Worker::new(vec![(ingress, Some(bell))], Vec::new(), ingress_bed),
        Worker::new(Vec::new(), vec![egress], egress_bed),
    ])
}

fn spawn(
    index: usize,
    worker: XdpWorker,
    core: CoreId,
    clock: MonotonicClock,
    stop: &Arc<AtomicBool>,
) -> Result<thread::JoinHandle<XdpWorker>, Error> {
    let stop = Arc::clone(stop);
    thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            if !core_affinity::set_for_current(core) {
                tracing::warn!("could not pin a worker to core {}", core.id);
            }
            // On Linux this is the calling thread's own priority: whatever else runs on the core waits for the frames.
            if let Err(error) = rustix::process::setpriority_process(None, HIGHEST_PRIORITY) {
                tracing::warn!("could not raise a worker's priority, so other programs may delay frames: {error}");
            }
            worker.run(&clock, &stop)
        })
        .map_err(Error::Thread)
}

/// Lets the queues run empty for a moment, drops what is left, and takes the last account.
fn close(workers: Vec<XdpWorker>, clock: &MonotonicClock, start: Nanos) -> Snapshot {
    let (mut ingress, mut egress) = (None, None);
    for worker in workers {
        ingress = worker.ingresses.into_iter().next().map(|(ingress, _)| ingress).or(ingress);
        egress = worker.egresses.into_iter().next().or(egress);
    }
    let (mut ingress, mut egress) = (ingress.expect("one worker has ingress"), egress.expect("one worker has egress"));
    let stopped = clock.now();
    drain(&mut ingress, &mut egress, clock, DRAIN);
    Snapshot::take(&ingress, &egress, stopped.since(start))
}
