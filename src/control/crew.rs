//! The workers' threads: sent out with the halves of the wires, and called back when a wire comes or goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use core_affinity::CoreId;

use super::supervisor::{Error, Orders};
use crate::config::halves_of;
use crate::datapath::idle::{Bell, Idle};
use crate::datapath::worker::Worker;
use crate::datapath::{Egress, Ingress};
use crate::port::xdp::{XdpRx, XdpTx};
use crate::time::MonotonicClock;

/// The nice value of workers. A real-time policy would let a worker that spins starve the kernel's own threads on its core.
const HIGHEST_PRIORITY: i32 = -20;

type XdpWorker = Worker<XdpRx, XdpTx>;

/// The two halves of a wire.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) ingress: Ingress<XdpRx>,
    pub(super) egress: Egress<XdpTx>,
}

/// The workers. While they are called back for a moment, the kernel holds what arrives.
#[derive(Debug)]
pub(super) struct Crew {
    cores: Vec<CoreId>,
    /// How many wires there are, open or not: a wire keeps its workers whatever becomes of the others.
    wires: usize,
    spin: bool,
    clock: MonotonicClock,
    #[cfg_attr(
        not(debug_assertions),
        expect(dead_code, reason = "only builds that check themselves can be told to fail")
    )]
    orders: Orders,
    /// Calls the workers back.
    stop: Arc<AtomicBool>,
    at_work: Vec<AtWork>,
}

/// One thread, with the numbers of the wires whose halves it has, in their order.
#[derive(Debug)]
struct AtWork {
    thread: JoinHandle<XdpWorker>,
    bell: Bell,
    ingresses: Vec<usize>,
    egresses: Vec<usize>,
}

impl Crew {
    /// A worker for each of `cores`, none sent out yet.
    pub(super) fn new(cores: Vec<CoreId>, wires: usize, spin: bool, clock: MonotonicClock, orders: Orders) -> Crew {
        Crew { cores, wires, spin, clock, orders, stop: Arc::default(), at_work: Vec::new() }
    }

    /// Sends the workers out with the halves of these wires, each with its number.
    ///
    /// # Errors
    ///
    /// If a thread or its event descriptors are not to be had; the wires are closed then.
    pub(super) fn dispatch(&mut self, pairs: Vec<(usize, Pair)>) -> Result<(), Error> {
        assert!(self.at_work.is_empty(), "the workers are here");
        self.stop.store(false, Ordering::Relaxed);
        let count = self.cores.len();
        let mut fds: Vec<Vec<_>> = vec![Vec::new(); count];
        for (wire, pair) in &pairs {
            fds[halves_of(*wire, self.wires, count).ingress].extend(pair.ingress.fds());
        }
        let beds = fds.into_iter().map(|fds| Idle::new(fds, self.spin)).collect::<Result<Vec<_>, _>>();
        let beds = beds.map_err(Error::Idle)?;
        let bells: Vec<Bell> = beds.iter().map(Idle::bell).collect();

        let mut ingresses: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
        let mut egresses: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
        for (wire, Pair { ingress, egress }) in pairs {
            let halves = halves_of(wire, self.wires, count);
            let bell = (halves.ingress != halves.egress).then(|| bells[halves.egress].clone());
            ingresses[halves.ingress].push((wire, (ingress, bell)));
            egresses[halves.egress].push((wire, egress));
        }
        let shares = ingresses.into_iter().zip(egresses).zip(beds.into_iter().zip(bells)).enumerate();
        for (index, ((ingresses, egresses), (bed, bell))) in shares {
            if ingresses.is_empty() && egresses.is_empty() {
                continue;
            }
            let (ingress_wires, ingresses) = ingresses.into_iter().unzip();
            let (egress_wires, egresses) = egresses.into_iter().unzip();
            let worker = Worker::new(ingresses, egresses, bed);
            #[cfg(debug_assertions)]
            let worker = worker.failing_on(Arc::clone(&self.orders.fault));
            let thread = self.spawn(index, worker)?;
            self.at_work.push(AtWork { thread, bell, ingresses: ingress_wires, egresses: egress_wires });
        }
        Ok(())
    }

    /// Calls the workers back at the end of their turn, and gives the halves that they bring.
    pub(super) fn recall(&mut self) -> Vec<(usize, Pair)> {
        self.stop.store(true, Ordering::Relaxed);
        self.at_work.iter().for_each(|worker| worker.bell.ring());
        let (mut ingresses, mut egresses) = (Vec::new(), Vec::new());
        for AtWork { thread, ingresses: ingress_wires, egresses: egress_wires, .. } in self.at_work.drain(..) {
            let worker = thread.join().expect("a worker that panics aborts the process");
            ingresses.extend(ingress_wires.into_iter().zip(worker.ingresses.into_iter().map(|(ingress, _)| ingress)));
            egresses.extend(egress_wires.into_iter().zip(worker.egresses));
        }
        ingresses.sort_unstable_by_key(|(wire, _)| *wire);
        egresses.sort_unstable_by_key(|(wire, _)| *wire);
        let pairs = ingresses.into_iter().zip(egresses);
        pairs.map(|((wire, ingress), (_, egress))| (wire, Pair { ingress, egress })).collect()
    }

    fn spawn(&self, index: usize, worker: XdpWorker) -> Result<JoinHandle<XdpWorker>, Error> {
        let (stop, core, clock) = (Arc::clone(&self.stop), self.cores[index], self.clock);
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
}
