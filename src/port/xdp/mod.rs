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
// What was set before the first change, and the way back.
mod state;
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
// stub
mod upkeep;

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
