//! Tidegate's test bed: two hosts with a bridge box between them, in network namespaces of their own; the systems that may
//! stand in the box; traffic through it; and measurements.
//!
//! ```text
//!   client host            bridge box             server host
//!  +------------+      +-----------------+      +------------+
//!  |       eth0 |------| in0        out0 |------| eth0       |
//!  +------------+      +-----------------+      +------------+
//!    10.77.0.1           the system                10.77.0.2
//!    fd77::1             under test                fd77::2
//! ```
//!
//! The client is inside, the server outside: *download* leaves the box by `in0`, *upload* by `out0`. Everything needs root.
//! Whatever runs in a namespace is started through `ip netns exec`; the lab's own senders and meters are the binary
//! `tidegate-lab` itself, started again with another subcommand.

// Programs: run, start, wait for, stop.
pub mod command;
// The clock that all namespaces share.
pub mod clock;
// The lab before what else the machine does.
mod favour;
// Ctrl-C, noticed while waiting.
pub mod interrupt;
// The bed: namespaces and wires.
pub mod netns;
// The frames that the kernel dropped on them.
pub mod drops;
// Hosts that speak with a VLAN tag.
pub mod vlan;
// What stands in the box.
pub mod system;
// Tidegate as a program: started, hurt, started again.
pub mod gate;
// What Tidegate leaves in the kernel and on its ports.
pub mod traces;
// What Tidegate counts, as it says it.
pub mod metrics;
// What crosses the box, and what is measured of it.
pub mod traffic;
// Measurements that take a whole bed: rate and latency.
pub mod experiment;
// What a kill, a hang, a panic, a stop, a restart or a bypass costs the wire.
pub mod failover;
// What a box costs while nothing happens, and how fast it wakes.
pub mod idle;
// Text tables.
pub mod table;
// The demo's result as a picture.
pub mod picture;
// Six classes at once, without and with Tidegate.
pub mod demo;

pub use netns::{Lab, Layout};
pub use system::System;
