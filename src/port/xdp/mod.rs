//! Real ports: AF_XDP sockets on two interfaces that share one UMEM.
//!
//! [`Wire::open`] gives, for each side, an [`XdpRx`] per receive queue and one [`XdpTx`]; a frame received on one side is
//! transmitted on the other where it lies. What `open` changes on the interfaces is written down first, and [`detach`] undoes it.
//! Everything that can go wrong is an [`Error`] that says what was refused, what is missing, and the cure.
//!
//! This room and `frame` are the only ones with `unsafe` code.

// Why the kernel refuses, and the cure.
mod diagnosis;
// An interface: its facts, and the settings that a port needs.
mod link;
// Route netlink: what the kernel knows of interfaces, addresses and routes.
mod rtnl;
// Whether an interface can be a port.
mod fitness;
// The firewall of IP on bridges, while a wire is in the namespace.
mod firewall;
// What an interface says of its own accord, and how it is kept from it.
mod quiet;
// The kernel bridge below the ports.
mod bridge;
// What was set before the first change, and the way back.
mod state;
// One process per port.
mod lock;
// The ports while the bridge runs: links that come and go.
mod upkeep;
// The kernel's share of a port: loading, attaching, counting.
mod program;
// The beats by which the program knows that its queues are served.
mod beat;
// The way past the program, which any process may open.
mod bypass;
// The memory that both ports share, and the descriptor of every frame in it.
mod umem;
// One socket per queue, cut into its receiving and its transmitting half.
mod socket;
// The receiving half of a queue.
mod rx;
// The transmitting half of a port.
mod tx;
// Two ports opened together.
mod wire;

pub use beat::{QUEUES_MAX, STALE, mute_all};
pub use bypass::{Bypass, bypassed, set_bypass};
pub use diagnosis::Error;
pub use program::{Counts, Program};
pub use rx::XdpRx;
pub use state::{Undone, detach};
pub use tx::XdpTx;
pub use umem::{Options, OptionsError};
pub use upkeep::{Condition, Watch};
pub use wire::{Mode, Wire};
