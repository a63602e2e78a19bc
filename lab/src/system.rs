//! What stands in the box: the kernel's bridge, alone or with its own shaping, or Tidegate.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::Signal;

use crate::command;
use crate::gate::Gate;
use crate::interrupt;
use crate::netns::{BOX_CORE, HOST_CORE, Lab, START_LIMIT};

/// Rates in bits per second on the wire, per direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// What leaves by the inside port.
    pub download: u64,
    /// What leaves by the outside port.
    pub upload: u64,
}

impl Rates {
    /// The same rate in both directions, in Mbit/s.
    pub const fn mbit(mbit: u64) -> Rates {
        Rates { download: mbit * 1_000_000, upload: mbit * 1_000_000 }
    }
}

/// A system under test.
#[derive(Clone, Debug)]
pub enum System {
    /// The kernel bridge, which forwards everything a bridge may forward.
    Bridge,
    /// The kernel bridge on a plain link: a token bucket and 100 ms of queue, as in a modem.
    BridgeLink(Rates),
    /// The kernel bridge with a class tree like Tidegate's: EF is voice, everything else bulk.
    BridgeHtb(Rates),
    /// Tidegate, with the text of its policy file.
    Tidegate {
        /// The binary.
        binary: PathBuf,
        /// The policy; see [`tidegate_policy`].
        policy: String,
    },
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            System::Bridge => "kernel bridge",
            System::BridgeLink(_) => "kernel bridge + TBF",
            System::BridgeHtb(_) => "kernel bridge + HTB",
            System::Tidegate { .. } => "tidegate",
        })
    }
}

/// Tidegate's policy for the lab's box: worker and control on their cores, `rates` if any, then `rules` as they are.
pub fn tidegate_policy(rates: Option<Rates>, rules: &str) -> String {
    let limits = rates.map_or(String::new(), |rates| {
        format!("download = \"{}kbit\"\nupload = \"{}kbit\"\n", rates.download / 1000, rates.upload / 1000)
    });
    format!(
        "[[wire]]\ninside = \"in0\"\noutside = \"out0\"\n{limits}overhead = \"ethernet\"\n\n\
         [cores]\ncontrol = {HOST_CORE}\nworkers = [{BOX_CORE}]\n\n{rules}"
    )
}

/// The rule by which EF-marked traffic is voice.
pub const VOICE_RULE: &str = "[[rule]]\nmatch = { dscp = \"EF\" }\nclass = \"voice\"\n";

/// Where the tests find Tidegate: `TIDEGATE_BIN`, or else the workspace's release build, or else its debug build.
/// An error says how to build it.
pub fn find_tidegate() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("TIDEGATE_BIN").map(PathBuf::from) {
        // The bed's programs run in other folders.
        return path.canonicalize().with_context(|| format!("TIDEGATE_BIN={}", path.display()));
    }
    match ["release", "debug"].iter().find_map(|profile| built(profile)) {
        Some(path) => Ok(path),
        None => bail!(
            "no tidegate in {}: build it with `cargo build --release`, or name it with TIDEGATE_BIN",
            target().display()
        ),
    }
}

/// The workspace's debug build of Tidegate, which checks itself at every turn and panics when asked to (SIGUSR2).
pub fn find_debug_tidegate() -> Result<PathBuf> {
    built("debug").with_context(|| format!("no debug tidegate in {}: build it with `cargo build`", target().display()))
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from)
}

/// The workspace's build of a profile, if it is there.
fn built(profile: &str) -> Option<PathBuf> {
    target().join(profile).join("tidegate").canonicalize().ok()
}

/// A system at work; taken out of the box by [`Running::stop`], or killed on drop.
#[derive(Debug)]
pub struct Running {
    tidegate: Option<Gate>,
}

impl System {
    /// Puts it in the box of `lab` and returns once a ping passes from host to host, over IPv4 and IPv6.
    pub fn start(&self, lab: &Lab) -> Result<Running> {
        let mut running = Running { tidegate: None };
        match self {
            System::Bridge => bridge(lab)?,
            System::BridgeLink(rates) => {
                bridge(lab)?;
                plain_link(lab, "in0", rates.download)?;
                plain_link(lab, "out0", rates.upload)?;
            }
            System::BridgeHtb(rates) => {
                bridge(lab)?;
                class_tree(lab, "in0", rates.download)?;
                class_tree(lab, "out0", rates.upload)?;
            }
            System::Tidegate { binary, policy } => {
                let mut gate = Gate::new(lab, binary, policy)?;
                gate.spawn()?;
                running.tidegate = Some(gate);
            }
        }
        let answered = running.await_ping(lab).with_context(|| format!("no ping passes through the {self}"));
        answered.map_err(|error| running.explain(error))?;
        Ok(running)
    }
}

impl Running {
    /// What the system has printed so far; nothing for the kernel's.
    pub fn log(&self) -> String {
        self.tidegate.as_ref().map_or(String::new(), Gate::log)
    }

    /// How long the box's threads have been kept from their cores by other programs; no time for the kernel's systems, which no
    /// program keeps waiting.
    pub fn kept_waiting(&self) -> Result<Duration> {
        self.tidegate.as_ref().map_or(Ok(Duration::ZERO), |gate| gate.process()?.kept_waiting())
    }

    /// How long the box's threads have run; no time for the kernel's systems, which have none.
    pub fn cpu_time(&self) -> Result<Duration> {
        self.tidegate.as_ref().map_or(Ok(Duration::ZERO), |gate| gate.process()?.cpu_time())
    }

    /// `error`, with what the system has printed behind it.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let log = self.log();
        if log.is_empty() { error } else { anyhow!("{error:#}\nThe system printed:\n{log}") }
    }

    /// Stops Tidegate by SIGINT and gives all that it printed, its summary last; an error if it ends badly.
    /// The kernel's systems have nothing to stop or say: they go with the lab.
    pub fn stop(mut self) -> Result<String> {
        self.tidegate.as_mut().map_or(Ok(String::new()), |gate| gate.stop(Signal::INT))
    }

    fn await_ping(&mut self, lab: &Lab) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let answer = lab.client.ping(lab.server.ipv4, 1).and_then(|()| lab.client.ping(lab.server.ipv6, 1));
            let Err(error) = answer else { return Ok(()) };
            interrupt::check()?;
            if let Some(gate) = &mut self.tidegate
                && !gate.is_running()?
            {
                bail!("it ended by itself");
            }
            if Instant::now() > deadline {
                return Err(error.context(format!("waited {START_LIMIT:?}")));
            }
        }
    }
}

/// A bridge that is as much of a wire as the kernel's can be: it floods, learns nothing, and forwards the reserved
/// addresses, but for pause frames (01:80:c2:00:00:01), which it always eats.
fn bridge(lab: &Lab) -> Result<()> {
    // Where the kernel has br_netfilter, its firewall would see the frames. Tidegate sees to that by itself.
    for table in ["iptables", "ip6tables", "arptables"] {
        let _ = lab.in_box("sysctl").words(format!("-qw net.bridge.bridge-nf-call-{table}=0")).run();
    }
    let ip = format!("ip -n {}", lab.middle);
    command::run(format!("{ip} link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0"))?;
    for port in ["in0", "out0"] {
        command::run(format!("{ip} link set {port} master br0"))?;
        let as_wire = "group_fwd_mask 0xfffd learning off flood on mcast_flood on bcast_flood on";
        command::run(format!("{ip} link set {port} type bridge_slave {as_wire}"))?;
    }
    command::run(format!("{ip} link set br0 up"))?;
    Ok(())
}

/// The bytes that each frame takes on the wire besides its own, and the least, as `tc` wants them.
const ON_THE_WIRE: &str = "overhead 24 mpu 84";
/// What may leave at once: ten full frames, since the kernel's default of one makes it miss its rate.
const BURST: u32 = 15140;

fn plain_link(lab: &Lab, port: &str, rate: u64) -> Result<()> {
    let tc = format!("tc -n {} qdisc add dev {port}", lab.middle);
    command::run(format!("{tc} root tbf rate {rate}bit burst {BURST} latency 100ms {ON_THE_WIRE}"))?;
    Ok(())
}

/// Voice has 30 % for its own and goes first; bulk has the rest; both may borrow it all.
fn class_tree(lab: &Lab, port: &str, rate: u64) -> Result<()> {
    let tc = format!("tc -n {}", lab.middle);
    command::run(format!("{tc} qdisc add dev {port} root handle 1: htb default 20"))?;
    let classes = [("1:", "1:1", rate, 0), ("1:1", "1:10", rate * 3 / 10, 0), ("1:1", "1:20", rate * 7 / 10, 1)];
    for (parent, id, guarantee, priority) in classes {
        let limits = format!("rate {guarantee}bit ceil {rate}bit burst {BURST} cburst {BURST} {ON_THE_WIRE}");
        command::run(format!(
            "{tc} class add dev {port} parent {parent} classid {id} htb {limits} prio {priority} quantum {BURST}"
        ))?;
    }
    for leaf in [10, 20] {
        command::run(format!("{tc} qdisc add dev {port} parent 1:{leaf} handle {leaf}: pfifo limit 1000"))?;
    }
    // EF is 46; the two low bits of the field are ECN's.
    for (protocol, field, order) in [("ip", "ip dsfield", 1), ("ipv6", "ip6 priority", 2)] {
        command::run(format!(
            "{tc} filter add dev {port} parent 1: protocol {protocol} prio {order} u32 match {field} 0xb8 0xfc flowid 1:10"
        ))?;
    }
    Ok(())
}
