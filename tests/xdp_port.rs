//! Real AF_XDP ports on veth pairs, in network namespaces that these tests make and that vanish with them. Needs root.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, thread};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvfrom, send, setsockopt, socket,
};

use tidegate::frame::{Burst, Frame, Home, Owner, Returns, Side, Table, homes};
use tidegate::port::xdp::{Mode, Options, Program, Wire, XdpRx, XdpTx, detach};
use tidegate::port::{Rx, Tx};
use tidegate::units::Nanos;

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `body` in a thread with a network namespace of its own, where `peer0 ─ port0` and `port1 ─ peer1` are veth pairs.
///
/// The namespace goes with the thread and the last socket, also if `body` panics.
fn in_lab(queues: u32, body: impl FnOnce() + Send) {
    if !nix::unistd::geteuid().is_root() {
        assert!(env::var_os("TIDEGATE_REQUIRE").is_none(), "these tests need root");
        eprintln!("SKIPPED: needs root");
        return;
    }
    let run = || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("a namespace of our own");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("mounts of our own");
        mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).expect("/sys of our namespace");
        for i in 0..2 {
            ip(&format!(
                "link add port{i} numrxqueues {queues} numtxqueues {queues} type veth peer name peer{i} numrxqueues {queues} numtxqueues {queues}"
            ));
            for name in [format!("port{i}"), format!("peer{i}")] {
                ip(&format!("link set {name} addrgenmode none up"));
            }
        }
        let _restore = Restore;
        body();
    };
    let joined = thread::scope(|scope| scope.spawn(run).join());
    if let Err(panic) = joined {
        std::panic::resume_unwind(panic);
    }
}

/// Leaves no state file behind.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        if let Err(error) = detach(&[]) {
            eprintln!("{error}");
        }
    }
}

fn ip(arguments: &str) {
    run("ip", arguments);
}

fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split_whitespace()).output().expect(program);
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Opens a wire over both ports, with small rings so that they wrap often.
fn small() -> Options {
    Options {
        rx_ring: 256,
        fill_ring: 256,
        tx_ring: 128,
        completion_ring: 128,
        egress_frames: 256,
        ..Options::default()
    }
}

/// The smallest datapath: what comes in on one side goes out on the other.
struct Forwarder {
    table: Arc<Table>,
    home: Home,
    returns: Returns,
    rx: [Vec<XdpRx>; 2],
    tx: [XdpTx; 2],
    waiting: [VecDeque<Frame>; 2],
    programs: [Program; 2],
    mode: Mode,
}

impl Forwarder {
    fn open(options: &Options) -> Forwarder {
        let wire = Wire::open("port0", "port1", options).unwrap_or_else(|error| panic!("{error}"));
        let (mut homes, mut returns) = homes(wire.frames, 1, 1);
        let mut forwarder = Forwarder {
            table: wire.table,
            home: homes.remove(0),
            returns: returns.remove(0),
            rx: wire.rx,
            tx: wire.tx,
            waiting: Default::default(),
            programs: wire.programs,
            mode: wire.mode,
        };
        forwarder.turn();
        forwarder
    }

    fn turn(&mut self) {
        for side in Side::BOTH {
            let (from, to) = (side as usize, side.opposite() as usize);
            for rx in &mut self.rx[from] {
                let mut burst = Burst::new();
                rx.receive(&self.table, Nanos::ZERO, &mut burst);
                for frame in burst {
                    self.table.pass(&frame, Owner::Ingress, Owner::Egress);
                    self.waiting[to].push_back(frame);
                }
                rx.refill(&self.table, &mut self.home);
            }
        }
        for (tx, waiting) in self.tx.iter_mut().zip(&mut self.waiting) {
            let mut burst = Burst::new();
            burst.extend(waiting.drain(..waiting.len().min(tx.room()).min(burst.remaining_capacity())));
            tx.submit(&self.table, Nanos::ZERO, &mut burst);
            assert!(burst.is_empty(), "submit takes what room() promised");
            tx.flush(Nanos::ZERO);
            let mut burst = Burst::new();
            tx.complete(&self.table, Nanos::ZERO, &mut burst);
            for frame in burst {
                self.returns.send(&self.table, frame, Owner::Transmit);
            }
        }
        self.home.collect();
    }

    fn turn_until(&mut self, what: &str, mut done: impl FnMut(&mut Forwarder) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "no {what} in time; {self:?}");
            self.turn();
        }
    }

    /// Checks that every frame is where the halves say it is.
    fn check_accounts(&mut self) {
        self.turn_until("completion of everything", |forwarder| forwarder.tx.iter().all(|tx| tx.in_flight() == 0));
        let lent: u32 = self.rx.iter().flatten().map(Rx::lent).sum();
        assert_eq!(self.home.free() as u32 + lent, self.table.frames(), "{self:?}");
        if let Some(census) = self.table.census() {
            assert_eq!(census, [self.home.free() as u32, lent, 0, 0, 0, 0]);
        }
    }
}

impl std::fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let losses: Vec<_> = self.rx.iter().flatten().map(Rx::losses).collect();
        let counts: Vec<_> = self.programs.iter().map(Program::counts).collect();
        f.debug_struct("Forwarder")
            .field("rx", &self.rx)
            .field("tx", &self.tx)
            .field("losses", &losses)
            .field("programs", &counts)
            .field("census", &self.table.census())
            .finish()
    }
}

/// The far end of a port: an AF_PACKET socket.
struct Peer {
    socket: OwnedFd,
}

impl Peer {
    fn new(side: usize) -> Peer {
        let name = format!("peer{side}");
        let socket =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_NONBLOCK, SockProtocol::EthAll).unwrap();
        setsockopt(&socket, RcvBufForce, &(4 << 20)).unwrap();
        let address = getifaddrs().unwrap().find(|address| address.interface_name == name && link(address).is_some());
        bind(socket.as_raw_fd(), &link(&address.expect("the peer exists")).unwrap()).unwrap();
        Peer { socket }
    }

    fn send(&self, frame: &[u8]) {
        assert_eq!(send(self.socket.as_raw_fd(), frame, MsgFlags::empty()), Ok(frame.len()));
    }

    /// A frame that arrived, if there is one.
    fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; 4096];
        loop {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut buffer) {
                // What this socket sent itself comes back as outgoing.
                Ok((_, Some(from))) if from.as_ref().sll_pkttype == libc::PACKET_OUTGOING => {}
                Ok((len, _)) => return Some(buffer[..len].to_vec()),
                Err(Errno::EAGAIN) => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn link(address: &nix::ifaddrs::InterfaceAddress) -> Option<LinkAddr> {
    address.address.as_ref()?.as_link_addr().copied()
}

/// Frame number `n` of a side: every length from 14 to 1514, and bytes that depend on all three.
fn frame(side: usize, n: u32) -> Vec<u8> {
    let len = 14 + (n as usize * 7) % 1501;
    let mut bytes: Vec<u8> = (0..len).map(|i| (i as u32).wrapping_mul(31).wrapping_add(n) as u8).collect();
    bytes[0] = 2;
    bytes[1] = side as u8;
    bytes[2..6].copy_from_slice(&n.to_be_bytes());
    // An EtherType for experiments, so that nothing in the kernel takes an interest.
    bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
    bytes
}

/// Sends `count` frames from both peers, never more than fit a veth's ring, and checks that each arrives as it was sent.
fn forward_both_ways(forwarder: &mut Forwarder, count: u32) {
    let peers = [Peer::new(0), Peer::new(1)];
    let mut next = 0;
    while next < count {
        let batch = next..count.min(next + 100);
        for n in batch.clone() {
            for (side, peer) in peers.iter().enumerate() {
                peer.send(&frame(side, n));
            }
        }
        for (side, to) in [(0, 1), (1, 0)] {
            for n in batch.clone() {
                let mut arrived = None;
                forwarder.turn_until("frame", |_| {
                    arrived = peers[to].receive();
                    arrived.is_some()
                });
                assert!(arrived == Some(frame(side, n)), "frame {n} of side {side} was changed or overtaken");
            }
        }
        next = batch.end;
    }
    assert!(peers.iter().all(|peer| peer.receive().is_none()), "nothing arrived that wasn't sent");
}

#[test]
fn frames_of_every_length_pass_both_ways_in_native_mode() {
    in_lab(1, || {
        let mut forwarder = Forwarder::open(&small());
        assert_eq!(forwarder.mode, Mode::NativeCopy);
        forward_both_ways(&mut forwarder, 20_000);
        forwarder.check_accounts();
        for (program, rx) in forwarder.programs.iter().zip(&forwarder.rx) {
            assert_eq!(program.counts().unwrap().redirected, 20_000);
            assert_eq!(rx[0].losses(), Default::default());
        }
    });
}
