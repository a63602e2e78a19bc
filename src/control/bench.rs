//! The whole path of a frame between ports in memory, for measuring.

use std::sync::Arc;

use crate::config::{Config, compile};
use crate::datapath::bands::bands;
use crate::datapath::{Egress, Ingress, Judge};
use crate::flow::FlowTable;
use crate::frame::{Side, Table, homes};
use crate::port::memory::{MemoryRx, MemoryTx};
use crate::time::{Clock, MonotonicClock};
use crate::units::{Nanos, Rate};

/// The frames of the bench: what a wire of two queues has, less the budget for a backlog that never builds.
const FRAMES: u32 = 16_384;

/// The frames that each port holds, as the rings of a network card do.
const PORT_RING: usize = 512;

/// The frames that wait in each ring between the halves.
const RING: usize = 2_048;

/// Why a bench has no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Frames were dropped, so the figure would not be that of forwarding.
    #[error("{0} frames were dropped on the way: the figure would mean nothing")]
    Lost(u64),
}

/// Both halves over ports in memory, turned by the caller's thread as a worker would.
#[derive(Debug)]
pub struct Pipeline {
    ingress: Ingress<MemoryRx>,
    egress: Egress<MemoryTx>,
    clock: MonotonicClock,
}

impl Pipeline {
    /// A pipeline that carries `flows` flows, half of them from either side, in frames of `size` bytes, their check sequence
    /// included; with `rate`, through a shaper that never holds them.
    pub fn new(flows: u32, size: u32, rate: Option<Rate>) -> Pipeline {
        let mut config = Config::default_policy();
        (config.wires[0].download, config.wires[0].upload) = (rate, rate);
        let policy = Arc::new(compile::policy(&config, &config.wires[0], 1));
        let (table, frames) = Table::heap(FRAMES, 2_048);
        let table = Arc::new(table);
        let (mut homes, mut returns) = homes(frames, 1, 1);
        let (sender, receiver) = bands(RING);
        let ports = Side::BOTH.map(|side| (side, MemoryRx::new(templates(side, flows / 2, size - 4), PORT_RING)));
        let judge = Judge::new(FlowTable::new(4 * flows as usize), Arc::clone(&policy));
        let clock = MonotonicClock::start();
        let ingress = Ingress::new(Arc::clone(&table), ports.into(), homes.remove(0), sender, judge);
        let tx = [MemoryTx::new(PORT_RING), MemoryTx::new(PORT_RING)];
        let egress = Egress::new(table, receiver, returns.remove(0), tx, [size; 2], &policy, clock.now());
        Pipeline { ingress, egress, clock }
    }

    /// Forwards at least `frames`; returns the time that it took.
    pub fn forward(&mut self, frames: u64) -> Nanos {
        let start = self.clock.now();
        let mut forwarded = 0;
        while forwarded < frames {
            let now = self.clock.now();
            forwarded += self.ingress.turn(now, &now) as u64;
            self.egress.turn(now, &now);
        }
        self.clock.now().since(start)
    }

    /// The frames dropped so far.
    pub fn lost(&self) -> u64 {
        self.ingress.counts().dropped.total() + self.egress.counts().dropped.total()
    }
}

/// UDP frames of `len` bytes, one of each flow; the servers' ports are spread over the classes.
fn templates(side: Side, flows: u32, len: u32) -> Vec<Vec<u8>> {
    /// Web, voice, gaming, video and file, by their well-known ports.
    const PORTS: [u16; 5] = [443, 5060, 27015, 554, 873];
    let template = |flow: u32| {
        let mut frame = vec![0; len as usize];
        // Ethernet: locally administered addresses, IPv4.
        frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00]);
        // IPv4: no options, TTL 64, UDP. Nothing on the way looks at its checksum.
        frame[14..24].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17]);
        frame[16..18].copy_from_slice(&(len as u16 - 14).to_be_bytes());
        let client = (0x0a00_0000 | flow).to_be_bytes();
        let server = (0xc612_0000 | (flow % 97)).to_be_bytes();
        let (client_port, server_port) = (20_000 + (flow % 40_000) as u16, PORTS[flow as usize % PORTS.len()]);
        let (source, destination, ports) = match side {
            Side::Inside => (client, server, [client_port, server_port]),
            // Flows of their own, not answers: 0x0080_0000 tells their clients from the others.
            Side::Outside => (server, (0x0a80_0000 | flow).to_be_bytes(), [server_port, client_port]),
        };
        frame[26..30].copy_from_slice(&source);
        frame[30..34].copy_from_slice(&destination);
        frame[34..36].copy_from_slice(&ports[0].to_be_bytes());
        frame[36..38].copy_from_slice(&ports[1].to_be_bytes());
        frame[38..40].copy_from_slice(&(len as u16 - 34).to_be_bytes());
        frame
    };
    (0..flows.max(1)).map(template).collect()
}
