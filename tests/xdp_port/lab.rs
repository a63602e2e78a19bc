//! Two veth pairs in a network namespace that vanishes with the test, and the machines at their far ends.

use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, panic, thread};

use nix::errno::Errno;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType};
use nix::sys::socket::{bind, recvfrom, send, setsockopt, socket};
use pcap_parser::{Capture, PcapCapture};
use tidegate::port::xdp::detach;

/// Where state files are.
const STATES: &str = "/run/tidegate";

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `body` in a thread with a network namespace of its own, where `peer0 ─ port0` and `port1 ─ peer1` are veth pairs
/// with this many queues.
///
/// The namespace goes with the thread and the last socket, also if `body` panics.
pub(crate) fn in_lab(queues: u32, body: impl FnOnce() + Send) {
    if !nix::unistd::geteuid().is_root() {
        assert!(env::var_os("TIDEGATE_REQUIRE").is_none(), "TIDEGATE_REQUIRE is set, but these tests need root");
        eprintln!("SKIPPED: needs root");
        return;
    }
    let run = || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("a namespace of our own");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("mounts of our own");
        // State files of our own: namespaces of tests that were killed leave theirs behind, and numbers come again.
        std::fs::create_dir_all(STATES).expect(STATES);
        mount(Some("tmpfs"), STATES, Some("tmpfs"), MsFlags::empty(), none).expect("state files of our own");
        mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).expect("/sys of our namespace");
        let queues = format!("numrxqueues {queues} numtxqueues {queues}");
        for i in 0..2 {
            run("ip", &format!("link add port{i} {queues} type veth peer name peer{i} {queues}"));
            for name in [format!("port{i}"), format!("peer{i}")] {
                run("ip", &format!("link set {name} addrgenmode none up"));
            }
        }
        let _undo = Undo;
        body();
    };
    if let Err(cause) = thread::scope(|scope| scope.spawn(run).join()) {
        panic::resume_unwind(cause);
    }
}

/// Leaves no state file behind.
struct Undo;

impl Drop for Undo {
    fn drop(&mut self) {
        if let Err(error) = detach(&[]) {
            eprintln!("{error}");
        }
    }
}

/// Runs a program with arguments that have no spaces in them, and returns what it printed.
pub(crate) fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split_whitespace()).output().expect(program);
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The machine at the far end of a port: an AF_PACKET socket.
pub(crate) struct Peer {
    socket: OwnedFd,
}

impl Peer {
    pub(crate) fn new(name: &str) -> Peer {
        let socket =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_NONBLOCK, SockProtocol::EthAll).expect("root");
        setsockopt(&socket, RcvBufForce, &(4 << 20)).expect("root");
        let address =
            getifaddrs().unwrap().find_map(|address| link(&address).filter(|_| address.interface_name == name));
        bind(socket.as_raw_fd(), &address.expect("the peer exists")).unwrap();
        Peer { socket }
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        assert_eq!(send(self.socket.as_raw_fd(), frame, MsgFlags::empty()), Ok(frame.len()));
    }

    /// A frame that arrived, if there is one.
    pub(crate) fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; 4096];
        loop {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut buffer) {
                // What left by the interface is shown as well.
                Ok((_, Some(from))) if from.as_ref().sll_pkttype == libc::PACKET_OUTGOING => {}
                Ok((len, _)) => return Some(buffer[..len].to_vec()),
                Err(Errno::EAGAIN) => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// The hardware address of an interface.
pub(crate) fn mac(name: &str) -> [u8; 6] {
    let address = getifaddrs().unwrap().find_map(|address| link(&address).filter(|_| address.interface_name == name));
    address.and_then(|address| address.addr()).expect("the interface has an address")
}

fn link(address: &InterfaceAddress) -> Option<LinkAddr> {
    address.address.as_ref()?.as_link_addr().copied()
}

/// What arrives at an interface as tcpdump sees it, which puts tags back where the kernel took them out of the bytes.
pub(crate) struct Tcpdump {
    child: Child,
    file: PathBuf,
    _directory: tempfile::TempDir,
}

impl Tcpdump {
    /// Begins to capture the next `count` frames that arrive.
    pub(crate) fn start(interface: &str, count: usize) -> Tcpdump {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("arrived.pcap");
        let mut child = Command::new("tcpdump")
            .args(["-i", interface, "-Q", "in", "-n", "-s", "0", "-U", "--immediate-mode", "-Z", "root"])
            .args(["-c", &count.to_string(), "-w"])
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        assert!(lines.any(|line| line.expect("text").contains("listening on")), "tcpdump doesn't listen");
        // tcpdump goes on writing there.
        thread::spawn(move || lines.for_each(drop));
        Tcpdump { child, file, _directory: directory }
    }

    pub(crate) fn is_done(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn frames(&self) -> Vec<Vec<u8>> {
        let bytes = fs::read(&self.file).unwrap();
        let capture = PcapCapture::from_file(&bytes).expect("a capture");
        capture
            .iter()
            .map(|block| match block {
                pcap_parser::PcapBlock::Legacy(block) => block.data.to_vec(),
                _ => panic!("not a legacy capture"),
            })
            .collect()
    }
}

impl Drop for Tcpdump {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something that the kernel does in its own time.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "no {what} in time");
        thread::yield_now();
    }
}
