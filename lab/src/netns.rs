//! The bed: three network namespaces and two wires.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};

use crate::command::{self, Invocation, Process};
use crate::drops::{self, Drops, EndDrops};
use crate::favour::Favour;

/// The core on which the hosts' programs run; the box's worker belongs on [`BOX_CORE`].
pub const HOST_CORE: usize = 0;
/// The core of the box's worker.
pub const BOX_CORE: usize = 1;

/// The longest that anything in the lab may take to start.
pub const START_LIMIT: Duration = Duration::from_secs(30);

/// The box's ports: those of the first pair of hosts, then those of the second.
const PORTS: [&str; 4] = ["in0", "out0", "in1", "out1"];
/// Every namespace of every lab begins with this, then the process id of its maker.
const PREFIX: &str = "tidelab";
/// Labs of one machine run one after another: two that measure at once would measure each other.
const LOCK: &str = "/run/lock/tidegate-lab";
/// What the lab starts.
const TOOLS: [&str; 13] =
    ["ip", "tc", "ss", "ethtool", "sysctl", "taskset", "chrt", "nice", "kill", "ping", "iperf3", "bpftool", "curl"];
/// Frames that wait at a host for room in the wire. Without a queue, veth drops silently when its ring of 256 is full.
const HOST_QUEUE: u32 = 1000;

/// What lies between the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The box with ports `in0` (to the client) and `out0` (to the server).
    Box,
    /// Nothing but one wire: what the hosts alone do to a frame.
    Cable,
}

/// The direction of traffic, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the server to the client: leaves the box by its inside port.
    Download,
    /// From the client to the server: leaves the box by its outside port.
    Upload,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Direction::Download => "download",
            Direction::Upload => "upload",
        })
    }
}

/// A namespace with a network interface `eth0` and addresses.
#[derive(Debug)]
pub struct Host {
    /// The name of its namespace.
    pub netns: String,
    /// Its IPv4 address, in a /24 with the other host.
    pub ipv4: &'static str,
    /// Its IPv6 address, in a /64 with the other host.
    pub ipv6: &'static str,
    /// Its Ethernet address.
    pub mac: &'static str,
    helper: PathBuf,
}

impl Host {
    /// The program `program`, to be run at this host on the hosts' core, before what else the machine does.
    pub fn program(&self, program: &str) -> Invocation {
        Invocation::new(program).netns(&self.netns).core(HOST_CORE).favoured()
    }

    /// A subcommand of the lab's own binary, to be run likewise.
    pub fn helper(&self, words: impl AsRef<str>) -> Invocation {
        self.program(&self.helper.to_string_lossy()).words(words)
    }

    /// Pings `address` `count` times, 50 ms apart; an error unless every request is answered.
    pub fn ping(&self, address: &str, count: u32) -> Result<()> {
        let said = self.program("ping").words(format!("-n -q -c {count} -i 0.05 -W 2 {address}")).run()?;
        if !said.contains(" 0% packet loss") {
            bail!("ping {address} from {}: not every request was answered:\n{said}", self.netns);
        }
        Ok(())
    }

    /// Switches its `eth0` on or off, so that the far end of the wire sees a carrier or none.
    pub fn switch(&self, on: bool) -> Result<()> {
        self.ip(if on { "link set eth0 up" } else { "link set eth0 down" }).map(|_| ())
    }

    /// Whether its `eth0` sees a carrier.
    pub fn has_carrier(&self) -> Result<bool> {
        Ok(self.ip("-o link show dev eth0")?.contains("LOWER_UP"))
    }

    /// The bytes that have come in by its `eth0`, Ethernet headers included.
    pub fn received_bytes(&self) -> Result<u64> {
        drops::received_bytes(&self.netns, "eth0")
    }

    fn ip(&self, words: impl AsRef<str>) -> Result<String> {
        command::run(format!("ip -n {} {}", self.netns, words.as_ref()))
    }
}

/// Two hosts and what lies between them; everything is gone when it is dropped.
#[derive(Debug)]
pub struct Lab {
    /// The subscriber's side, on the box's inside.
    pub client: Host,
    /// The far side, on the box's outside.
    pub server: Host,
    /// The namespace of the box; empty of ports in [`Layout::Cable`].
    pub middle: String,
    layout: Layout,
    // The path of the binary `tidegate-lab`, and what the names of the namespaces begin with.
    helper: PathBuf,
    stem: String,
    // Namespaces of a second pair of hosts, see `second_pair`.
    more: Vec<String>,
    // Awake cores, see `keep_awake`; ended before the namespaces go.
    spinners: Vec<Process>,
    // Given back before the turn is.
    _favour: Option<Favour>,
    // Held for its lock.
    _turn: File,
}

impl Lab {
    /// Makes the bed. `helper` is the path of the binary `tidegate-lab`. Waits while another lab of this machine stands.
    pub fn build(layout: Layout, helper: &Path) -> Result<Lab> {
        if !rustix::process::geteuid().is_root() {
            bail!("the lab makes network namespaces and needs root: run it with sudo");
        }
        need_tools()?;
        let turn = take_turn()?;
        sweep()?;
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let stem = format!("{PREFIX}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // From here on a failure drops the lab, which takes down what stands already.
        let lab = Lab {
            client: client(&stem, "client", helper),
            server: server(&stem, "server", helper),
            middle: format!("{stem}-box"),
            layout,
            helper: helper.to_owned(),
            stem,
            more: Vec::new(),
            spinners: Vec::new(),
            _favour: Favour::ask(),
            _turn: turn,
        };
        lab.lay_wires()?;
        [&lab.client, &lab.server].into_iter().try_for_each(settle_host)?;
        Ok(lab)
    }

    /// The host that sends in `direction`.
    pub fn sender(&self, direction: Direction) -> &Host {
        match direction {
            Direction::Download => &self.server,
            Direction::Upload => &self.client,
        }
    }

    /// The host that receives in `direction`.
    pub fn receiver(&self, direction: Direction) -> &Host {
        match direction {
            Direction::Download => &self.client,
            Direction::Upload => &self.server,
        }
    }

    /// The box's ports, both of a wire together.
    pub fn ports(&self) -> Vec<&'static str> {
        let count = match self.layout {
            Layout::Cable => 0,
            Layout::Box => 2 + self.more.len(),
        };
        PORTS[..count].to_vec()
    }

    /// What lies between the hosts.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// A program to be run in the box, before what else the machine does.
    pub fn in_box(&self, program: &str) -> Invocation {
        Invocation::new(program).netns(&self.middle).favoured()
    }

    /// Keeps all cores from sleeping until the lab is dropped: an idle virtual machine wakes up to 16 ms late, which would
    /// drown every latency. The spinners run only when a core has nothing else to do, so on a busy machine one may be put
    /// aside in the kernel, inside a section that the kernel waits for (RCU), for half a minute: programs then end and
    /// sockets close that late. Where programs come and go, steady traffic keeps the cores awake instead.
    pub fn keep_awake(&mut self) -> Result<()> {
        for core in 0..std::thread::available_parallelism()?.get() {
            let spin = Invocation::new(self.client.helper.to_string_lossy()).core(core).when_idle().words("spin");
            self.spinners.push(spin.spawn()?);
        }
        Ok(())
    }

    /// Takes away the hosts' addresses and their own chatter (ARP, ND, multicast reports): only injected frames remain.
    pub fn hush(&self) -> Result<()> {
        for host in [&self.client, &self.server] {
            host.ip("address flush dev eth0")?;
            host.ip("link set eth0 arp off promisc on")?;
            host.program("sysctl").words("-qw net.ipv6.conf.eth0.disable_ipv6=1").run()?;
        }
        Ok(())
    }

    /// The frames that the kernel has dropped so far on each end of each wire and in its queues.
    pub fn drops(&self) -> Result<Drops> {
        self.ends().into_iter().map(|(netns, name)| EndDrops::read(netns, name)).collect::<Result<_>>().map(Drops)
    }

    fn ends(&self) -> Vec<(&str, &'static str)> {
        let mut ends = vec![(self.client.netns.as_str(), "eth0"), (self.server.netns.as_str(), "eth0")];
        if self.layout == Layout::Box {
            ends.extend([(self.middle.as_str(), "in0"), (self.middle.as_str(), "out0")]);
        }
        ends
    }

    /// A second client and server, with ports `in1` and `out1` at the box. They have the same addresses as the first pair,
    /// from which nothing leads to them: whatever crosses over is seen.
    pub fn second_pair(&mut self) -> Result<[Host; 2]> {
        let hosts = [client(&self.stem, "client2", &self.helper), server(&self.stem, "server2", &self.helper)];
        for (host, port) in hosts.iter().zip(&PORTS[2..]) {
            self.more.push(host.netns.clone());
            make_namespace(&host.netns)?;
            self.lay_wire(host, port)?;
            settle_host(host)?;
        }
        Ok(hosts)
    }

    /// Takes the box's port `in0` away, and with it the client's interface.
    pub fn unplug_client(&self) -> Result<()> {
        command::run(format!("ip -n {} link delete in0", self.middle)).map(|_| ())
    }

    /// Puts back what [`Lab::unplug_client`] took, as new interfaces with the same names and addresses.
    pub fn plug_client(&self) -> Result<()> {
        self.lay_wire(&self.client, "in0")?;
        settle_host(&self.client)
    }

    fn lay_wires(&self) -> Result<()> {
        let (client, server, middle) = (&self.client.netns, &self.server.netns, &self.middle);
        for netns in [client, middle, server] {
            make_namespace(netns)?;
        }
        // The box's ports, bridges included, are no hosts: they say nothing of their own.
        self.in_box("sysctl")
            .words("-qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
            .run()?;
        match self.layout {
            Layout::Cable => {
                command::run(format!("ip link add eth0 netns {client} type veth peer name eth0 netns {server}"))?;
                [client, server].into_iter().try_for_each(|netns| make_plain(netns, "eth0"))
            }
            Layout::Box => {
                self.lay_wire(&self.client, "in0")?;
                self.lay_wire(&self.server, "out0")
            }
        }
    }

    /// A wire from `host` to the box's port `port`.
    fn lay_wire(&self, host: &Host, port: &str) -> Result<()> {
        let (netns, middle) = (&host.netns, &self.middle);
        command::run(format!("ip link add eth0 netns {netns} type veth peer name {port} netns {middle}"))?;
        make_plain(netns, "eth0")?;
        make_plain(middle, port)
    }
}

fn client(stem: &str, role: &str, helper: &Path) -> Host {
    let (netns, helper) = (format!("{stem}-{role}"), helper.to_owned());
    Host { netns, ipv4: "10.77.0.1", ipv6: "fd77::1", mac: "02:77:00:00:00:01", helper }
}

fn server(stem: &str, role: &str, helper: &Path) -> Host {
    let (netns, helper) = (format!("{stem}-{role}"), helper.to_owned());
    Host { netns, ipv4: "10.77.0.2", ipv6: "fd77::2", mac: "02:77:00:00:00:02", helper }
}

fn make_namespace(netns: &str) -> Result<()> {
    command::run(format!("ip netns add {netns}"))?;
    command::run(format!("ip -n {netns} link set lo up")).map(|_| ())
}

/// Lets frames go over the wire at `name` as they would over copper: of their real size, with their checksums and tags
/// inside. Then switches it on.
fn make_plain(netns: &str, name: &str) -> Result<()> {
    let off = "rx off tx off sg off tso off gso off gro off txvlan off rxvlan off \
               tx-vlan-stag-hw-insert off rx-vlan-stag-hw-parse off";
    Invocation::new("ethtool").netns(netns).words(format!("-K {name} {off}")).run()?;
    command::run(format!("ip -n {netns} link set {name} up")).map(|_| ())
}

/// Addresses and a queue.
fn settle_host(host: &Host) -> Result<()> {
    let quiet = "net.ipv6.conf.eth0.router_solicitations=0 net.ipv6.conf.eth0.accept_ra=0";
    host.program("sysctl").words(format!("-qw {quiet}")).run()?;
    host.ip(format!("link set eth0 address {}", host.mac))?;
    host.ip(format!("address add {}/24 dev eth0", host.ipv4))?;
    host.ip(format!("address add {}/64 dev eth0 nodad", host.ipv6))?;
    command::run(format!("tc -n {} qdisc add dev eth0 root pfifo limit {HOST_QUEUE}", host.netns)).map(|_| ())
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.spinners.clear();
        for netns in [&self.client.netns, &self.server.netns, &self.middle].into_iter().chain(&self.more) {
            // The only failure is that a namespace was never made.
            let _ = remove(netns);
        }
    }
}

/// An error that names all programs that the lab needs and does not find.
fn need_tools() -> Result<()> {
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let is_missing = |tool: &&&str| !folders.iter().any(|folder| folder.join(tool).exists());
    let missing: Vec<&str> = TOOLS.iter().filter(is_missing).copied().collect();
    if !missing.is_empty() {
        bail!("the lab needs {}, not found in PATH: run scripts/install-deps", missing.join(", "));
    }
    Ok(())
}

fn take_turn() -> Result<File> {
    let file = File::create(LOCK).with_context(|| format!("cannot open {LOCK}"))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        eprintln!("waiting for another lab on this machine to end ({LOCK}) …");
        flock(&file, FlockOperation::LockExclusive).with_context(|| format!("cannot lock {LOCK}"))?;
    }
    Ok(file)
}

/// Takes down what labs left behind whose makers were killed.
fn sweep() -> Result<()> {
    for line in command::run("ip netns list")?.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let Some(maker) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').nth(1)) else { continue };
        if !Path::new("/proc").join(maker).exists() {
            remove(name)?;
        }
    }
    Ok(())
}

/// Ends what still runs in a namespace of ours, then removes it with its interfaces.
fn remove(netns: &str) -> Result<()> {
    for pid in command::run(format!("ip netns pids {netns}"))?.split_whitespace() {
        // It may have ended by itself meanwhile.
        let _ = command::run(format!("kill -KILL {pid}"));
    }
    command::run(format!("ip netns delete {netns}"))?;
    Ok(())
}
