//! Why the kernel refuses, and the cure.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{fs, io};

use rustix::process::{Resource, getrlimit};

use super::umem::OptionsError;
use super::wire::Mode;

/// Why a wire can't be opened or undone; every message names what was got, what was wanted, and the cure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is none of this network namespace's interfaces.
    #[error("there is no interface {name:?} in this network namespace; it has {existing}")]
    NoInterface {
        /// The name that was asked for.
        name: String,
        /// Those that exist, separated by commas.
        existing: String,
    },
    /// Both ends of the wire are one interface.
    #[error("{inside} and {outside} are the same interface; a wire needs two")]
    SameInterface {
        /// The name given for the inside.
        inside: String,
        /// The name given for the outside.
        outside: String,
    },
    /// The interface can neither receive nor send.
    #[error("interface {0} is down; bring it up: ip link set {0} up")]
    Down(String),
    /// Frames may come that don't fit.
    #[error(
        "interface {name} has an MTU of {mtu}, so frames of {frame} bytes with two VLAN tags, but a chunk of {chunk} has room \
         for {room}; lower the MTU: ip link set {name} mtu {max}{larger}"
    )]
    Mtu {
        /// The interface.
        name: String,
        /// Its MTU.
        mtu: u32,
        /// The longest frame that the MTU allows.
        frame: u32,
        /// Bytes per frame in the UMEM.
        chunk: u32,
        /// How many of those can hold a frame.
        room: u32,
        /// The largest MTU that fits.
        max: u32,
        /// The other cure, if there is one.
        larger: &'static str,
    },
    /// Something else has the interface under it.
    #[error(
        "interface {name} belongs to {master}; a port belongs to nothing but its wire. Take it out: ip link set {name} \
         nomaster"
    )]
    Master {
        /// The interface.
        name: String,
        /// The kind and name of what it belongs to.
        master: String,
    },
    /// The interface is a host's.
    #[error(
        "interface {name} has the address {addresses}; a port has none, because the machine itself would no longer hear what \
         comes to it. Give it to another interface or remove it: ip address flush dev {name} (and, if routers announce it, \
         sysctl -w net/ipv6/conf/{name}/disable_ipv6=1)"
    )]
    Addresses {
        /// The interface.
        name: String,
        /// Its addresses, separated by commas.
        addresses: String,
    },
    /// The machine sends its own packets by the interface.
    #[error(
        "the route to {route} leaves by interface {name}; nothing of the machine's own leaves by a port. Let it leave by \
         another interface or remove it: ip route flush dev {name}; ip -6 route flush dev {name}"
    )]
    Route {
        /// The interface.
        name: String,
        /// The route's destination.
        route: String,
    },
    /// A firewall would judge frames on the bridge, and someone else may depend on that.
    #[error(
        "the firewall of this network namespace judges frames on bridges (br_netfilter, often loaded by Docker) and would \
         cut the wire while no bridge of ours runs; the bridge {bridge}, which is not ours, may depend on it. If it doesn't, \
         switch that off: {cure}; otherwise give the wire a network namespace of its own"
    )]
    BridgeFirewall {
        /// One bridge that isn't of a wire.
        bridge: String,
        /// The command that switches it off.
        cure: String,
    },
    /// A firewall would judge frames on the bridge, and the kernel doesn't let us change that.
    #[error(
        "the firewall of this network namespace judges frames on bridges (br_netfilter, often loaded by Docker) and would \
         cut the wire while no bridge of ours runs; it could not be switched off in /proc/sys: {source}. Mount that writable, \
         as a container needs it, or switch the firewall off from where it is: {cure}"
    )]
    FirewallStays {
        /// The kernel's answer.
        source: io::Error,
        /// The command that switches it off.
        cure: String,
    },
    /// Something that isn't a bridge has the bridge's name.
    #[error(
        "the wire's bridge is to be named {bridge}, but there is such an interface; rename it: ip link set {bridge} name ..."
    )]
    NameTaken {
        /// The name.
        bridge: String,
    },
    /// The bridge holds an interface that isn't of the wire.
    #[error(
        "the wire's bridge {bridge} also holds {port}, which is not of this wire. If it was of an earlier one, undo that: \
         tidegate detach {port}; otherwise take it out: ip link set {port} nomaster"
    )]
    ThirdPort {
        /// The bridge.
        bridge: String,
        /// The interface.
        port: String,
    },
    /// The ports were in two wires.
    #[error(
        "{inside} and {outside} were ports of two other wires, with the bridges {bridges}; undo those: tidegate detach \
         {inside} {outside}"
    )]
    TwoWires {
        /// The inside port.
        inside: String,
        /// The outside port.
        outside: String,
        /// Their bridges.
        bridges: String,
    },
    /// The port is held already.
    #[error("port {name} is in use by {holder}; {cure}")]
    InUse {
        /// The port.
        name: String,
        /// Who has it.
        holder: String,
        /// What to do.
        cure: String,
    },
    /// The interface has more receive queues than the program tells apart.
    #[error(
        "interface {name} has {queues} receive queues, and a port serves {max} at most; have fewer: ethtool -L {name} combined \
         {max} (or rx {max})",
        max = super::beat::QUEUES_MAX
    )]
    Queues {
        /// The interface.
        name: String,
        /// Its receive queues.
        queues: u32,
    },
    /// An option is out of its range.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// Someone else's XDP program is attached.
    #[error(
        "interface {name} already has an XDP program, {program:?} (id {id}), which is not ours; stop what uses it, or remove \
         it: ip link set dev {name} xdp off"
    )]
    ForeignProgram {
        /// The interface.
        name: String,
        /// The program's name.
        program: String,
        /// The program's number in the kernel.
        id: u32,
    },
    /// There is nothing to bypass.
    #[error(
        "interface {0} does not have our XDP program, so its frames are the kernel's already; if it should be a port, start \
         `tidegate run`"
    )]
    NoProgram(String),
    /// This process may not do what a port needs.
    #[error("a port needs {0}")]
    Privileges(String),
    /// `/sys` doesn't show this network namespace.
    #[error(
        "/sys/class/net/{0} is not the interface {0} of this network namespace: /sys was mounted in another one. Enter the \
         namespace with `ip netns exec`, or mount sysfs anew in it"
    )]
    Sysfs(String),
    /// The kernel refused a step.
    #[error("{step} on {interface}: {source}{advice}")]
    Refused {
        /// What was tried.
        step: String,
        /// Where.
        interface: String,
        /// The kernel's answer.
        source: io::Error,
        /// What is probably missing, and the cure; empty if nothing is known.
        advice: String,
    },
    /// The driver or the kernel has no such mode.
    #[error("{mode} mode on {interface}: {source}{advice}")]
    Mode {
        /// The mode that was tried.
        mode: Mode,
        /// Where.
        interface: String,
        /// The kernel's answer.
        source: io::Error,
        /// What is probably missing, and the cure; empty if nothing is known.
        advice: String,
    },
    /// The state file can't be read or written.
    #[error("state file {path}: {source}; its directory must be writable, or name another one in TIDEGATE_STATE_DIR")]
    StateFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The state file isn't one; it is left as it is.
    #[error(
        "state file {path} is not one of ours or is damaged ({reason}), so the previous settings of its interface are not \
         known. Check them by hand (ethtool -k, ip -d link, sysctl net.bridge), then delete the file"
    )]
    DamagedState {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// A refusal of the kernel, with advice.
    pub(super) fn refused(step: impl Into<String>, interface: &str, source: io::Error) -> Error {
        let advice = advice(&source, interface);
        Error::Refused { step: step.into(), interface: interface.to_owned(), source, advice }
    }

    /// A refusal of a step that depends on the mode: of the mode, unless the answer says that no mode would do.
    pub(super) fn mode(mode: Mode, step: impl Into<String>, interface: &str, source: io::Error) -> Error {
        const ANY_MODE: [i32; 6] = [libc::EPERM, libc::EACCES, libc::EBUSY, libc::EEXIST, libc::ENODEV, libc::ENOMEM];
        if source.raw_os_error().is_some_and(|number| ANY_MODE.contains(&number)) {
            return Error::refused(step, interface, source);
        }
        let advice = advice(&source, interface);
        Error::Mode { mode, interface: interface.to_owned(), source, advice }
    }
}

/// The system's error inside one of xsk-rs, which keeps it as its source.
pub(super) fn os_error(error: &(dyn std::error::Error + 'static)) -> io::Error {
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()).and_then(io::Error::raw_os_error) {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::other(error.to_string()),
    }
}

/// What the answer usually means here, beginning with a separator; empty if it says enough by itself.
fn advice(source: &io::Error, interface: &str) -> String {
    let text = match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => why_not_permitted(),
        Some(libc::EBUSY | libc::EEXIST) => format!(
            "another process is bound to a queue of {interface} or attached a program to it; find it with `bpftool net` and \
             `ss --xdp -p`"
        ),
        Some(libc::EOPNOTSUPP) => format!("the driver of {interface} or the kernel (CONFIG_XDP_SOCKETS) lacks it"),
        Some(libc::ERANGE) => {
            format!("the driver takes the program only with a smaller MTU on {interface} or its peer")
        }
        Some(libc::ENOBUFS | libc::ENOMEM) => format!(
            "there was not enough memory to lock ({}); raise it (ulimit -l, LimitMEMLOCK=), give \
             CAP_IPC_LOCK, or lower egress_frames and the ring sizes",
            locked_memory_limit()
        ),
        Some(libc::EROFS) => "/proc/sys must be writable: a container needs it mounted so".to_owned(),
        Some(libc::ENODEV | libc::ENXIO) => format!("{interface} has disappeared"),
        Some(libc::ENETDOWN) => format!("{interface} is down; bring it up: ip link set {interface} up"),
        _ => return String::new(),
    };
    format!(". {text}")
}

/// The capabilities a port can't do without: bit in `CapEff` (linux/capability.h), name, what for.
const CAPABILITIES: [(&[u32], &str, &str); 3] = [
    (&[12], "CAP_NET_ADMIN", "to attach the program and change the interface"),
    (&[13], "CAP_NET_RAW", "to open AF_XDP sockets"),
    (&[39, 21], "CAP_BPF (or CAP_SYS_ADMIN)", "to load the program"),
];

/// Refuses at once, before anything is changed, if this process lacks a capability.
pub(super) fn check_privileges() -> Result<(), Error> {
    match missing_capabilities(effective_capabilities()) {
        Some(missing) => Err(Error::Privileges(missing)),
        None => Ok(()),
    }
}

fn effective_capabilities() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    // Unreadable means unknown, and then the kernel's own answer will do.
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(u64::MAX)
}

/// Names what `effective` lacks, and the cure.
fn missing_capabilities(effective: u64) -> Option<String> {
    let missing: Vec<String> = CAPABILITIES
        .iter()
        .filter(|(bits, ..)| bits.iter().all(|bit| effective & (1 << bit) == 0))
        .map(|(_, name, purpose)| format!("{name} {purpose}"))
        .collect();
    if missing.is_empty() {
        return None;
    }
    Some(format!(
        "{}, which this process does not have; run as root, or give them: setcap \
         cap_net_admin,cap_net_raw,cap_bpf,cap_ipc_lock+ep $(command -v tidegate) (systemd: AmbientCapabilities=)",
        missing.join(", ")
    ))
}

/// Everything known that makes the kernel answer EPERM or EACCES.
fn why_not_permitted() -> String {
    let mut why = match missing_capabilities(effective_capabilities()) {
        Some(missing) => format!("it needs {missing}"),
        None => "this process has the capabilities it needs, so something else forbids it".to_owned(),
    };
    if trimmed("/proc/self/uid_map").split_whitespace().ne(["0", "0", "4294967295"]) {
        why.push_str("; in a user namespace (an unprivileged container) the kernel takes no BPF programs at all");
    }
    for (path, harmless) in
        [("/sys/kernel/security/lockdown", "[none]"), ("/proc/sys/kernel/unprivileged_bpf_disabled", "0")]
    {
        let value = trimmed(path);
        if !value.is_empty() && !value.contains(harmless) {
            let _ = write!(why, "; {path} is {value}");
        }
    }
    let _ = write!(why, "; {}", locked_memory_limit());
    why
}

fn locked_memory_limit() -> String {
    match getrlimit(Resource::Memlock).current {
        Some(bytes) => format!("RLIMIT_MEMLOCK is {} KiB", bytes / 1024),
        None => "RLIMIT_MEMLOCK is unlimited".to_owned(),
    }
}

fn trimmed(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_capability_is_named_with_its_cure() {
        assert_eq!(missing_capabilities(u64::MAX), None);
        let all_but_raw = missing_capabilities(!(1 << 13)).unwrap();
        assert!(all_but_raw.starts_with("CAP_NET_RAW to open AF_XDP sockets, which"), "{all_but_raw}");
        assert!(all_but_raw.contains("setcap"), "{all_but_raw}");
    }

    #[test]
    fn either_of_two_capabilities_loads_a_program() {
        let base = 1 << 12 | 1 << 13;
        assert_eq!(missing_capabilities(base | 1 << 39), None);
        assert_eq!(missing_capabilities(base | 1 << 21), None);
        assert!(missing_capabilities(base).unwrap().starts_with("CAP_BPF"));
    }

    #[test]
    fn what_the_kernel_answers_is_explained() {
        let error = Error::refused("binding queue 0", "eth0", io::Error::from_raw_os_error(libc::EBUSY));
        assert!(error.to_string().starts_with("binding queue 0 on eth0: "), "{error}");
        assert!(error.to_string().contains("another process"), "{error}");
        let error = Error::refused("registering the UMEM", "the wire", io::Error::from_raw_os_error(libc::ENOBUFS));
        assert!(error.to_string().contains("RLIMIT_MEMLOCK"), "{error}");
        let error = Error::refused("binding queue 0", "eth0", io::Error::from_raw_os_error(libc::EINVAL));
        assert!(error.to_string().ends_with("(os error 22)"), "{error}");
    }
}
