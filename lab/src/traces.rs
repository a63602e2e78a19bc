//! What a Tidegate leaves in the kernel and on its ports: programs, sockets, interfaces, settings.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::Lab;
use crate::command::{self, Invocation};
use crate::interrupt;

/// The name of Tidegate's program in the kernel.
const PROGRAM: &str = "tidegate";
/// The kernel lets go of programs, maps and sockets some time after their last user.
const LET_GO: Duration = Duration::from_secs(10);
/// How often it is looked at again.
const LOOK: Duration = Duration::from_millis(100);

/// What there is of Tidegate in the kernel. Programs and maps are those of the whole machine: they have no namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces {
    /// Programs of Tidegate's name.
    pub programs: usize,
    /// Maps of AF_XDP sockets.
    pub socket_maps: usize,
    /// All other maps that a program of ours uses.
    pub other_maps: usize,
    /// AF_XDP sockets in the box.
    pub sockets: usize,
    /// The box's interfaces.
    pub links: Vec<String>,
}

#[derive(Deserialize)]
struct Program {
    #[serde(default)]
    name: String,
    #[serde(default)]
    map_ids: Vec<u64>,
}

#[derive(Deserialize)]
struct Map {
    id: u64,
    #[serde(rename = "type", default)]
    kind: String,
}

#[derive(Deserialize)]
struct Link {
    ifname: String,
}

impl Traces {
    /// What there is now.
    pub fn read(lab: &Lab) -> Result<Traces> {
        let programs: Vec<Program> = json(&Invocation::new("bpftool").words("-j prog list"))?;
        let maps: Vec<Map> = json(&Invocation::new("bpftool").words("-j map list"))?;
        let links: Vec<Link> = json(&Invocation::new("ip").words(format!("-n {} -j link show", lab.middle)))?;
        let sockets = lab.in_box("ss").words("-H --xdp").run()?.lines().count();
        let ours: Vec<&Program> = programs.iter().filter(|program| program.name == PROGRAM).collect();
        let is_used = |map: &&Map| ours.iter().any(|program| program.map_ids.contains(&map.id));
        let (of_sockets, others): (Vec<&Map>, Vec<&Map>) = maps.iter().partition(|map| map.kind == "xskmap");
        Ok(Traces {
            programs: ours.len(),
            socket_maps: of_sockets.len(),
            other_maps: others.into_iter().filter(is_used).count(),
            sockets,
            links: links.into_iter().map(|link| link.ifname).collect(),
        })
    }

    /// Waits until there is no more than this again; an error that shows both if that takes longer than the kernel may.
    pub fn await_return(&self, lab: &Lab) -> Result<()> {
        let deadline = Instant::now() + LET_GO;
        loop {
            interrupt::check()?;
            let now = Traces::read(lab)?;
            if now == *self {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("something stays behind: {now:?}, before {self:?}");
            }
            thread::sleep(LOOK);
        }
    }
}

/// How a port of the box is set, without counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSettings(Vec<String>);

impl PortSettings {
    /// The settings of port `name` now: the interface as `ip` knows it, its offloads, its part in IPv6.
    pub fn read(lab: &Lab, name: &str) -> Result<PortSettings> {
        let links: Vec<Value> =
            json(&Invocation::new("ip").words(format!("-n {} -d -j link show dev {name}", lab.middle)))?;
        let link = links.first().and_then(Value::as_object).with_context(|| format!("ip shows no {name}"))?;
        let mut lines: Vec<String> = link.iter().map(|(key, value)| format!("ip: {key} {value}")).collect();
        let ethtool = Invocation::new("ethtool").netns(&lab.middle).words(format!("-k {name}")).run()?;
        lines.extend(ethtool.lines().map(|line| format!("ethtool: {}", line.trim())));
        for key in ["disable_ipv6", "addr_gen_mode", "accept_ra"] {
            let setting = format!("net.ipv6.conf.{name}.{key}");
            lines.push(format!("sysctl: {}", lab.in_box("sysctl").words(setting).run()?.trim()));
        }
        let addresses = command::run(format!("ip -n {} -o address show dev {name}", lab.middle))?;
        lines.push(format!("addresses: {}", addresses.lines().count()));
        Ok(PortSettings(lines))
    }
}

impl PortSettings {
    /// The lines in which `self` differs from `before`, both ways; empty if nothing does.
    pub fn changes(&self, before: &PortSettings) -> Changes {
        let only = |sign, these: &PortSettings, those: &PortSettings| -> Vec<String> {
            these.0.iter().filter(|line| !those.0.contains(line)).map(|line| format!("{sign} {line}")).collect()
        };
        Changes([only('-', before, self), only('+', self, before)].concat())
    }
}

/// Lines of settings that went (`-`) and came (`+`).
#[derive(Clone, Debug)]
pub struct Changes(Vec<String>);

impl Changes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

fn json<T: for<'a> Deserialize<'a>>(invocation: &Invocation) -> Result<T> {
    serde_json::from_str(&invocation.run()?).with_context(|| format!("`{invocation}` printed unexpected JSON"))
}
