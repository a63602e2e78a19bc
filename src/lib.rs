//! Tidegate: a transparent inline QoS bridge.
//!
//! The life of a frame, and the rooms in the order in which it meets them: a [`port`] receives it as a number ([`frame`])
//! in a burst; [`wire`] reads its headers where they lie; [`flow`] finds the flow that it belongs to, and [`classify`] what
//! the flow is for, on its first frame. The [`datapath`] pushes it into the lock-free ring of its priority band; at the
//! other end [`qos`] queues it, decides when it may leave, and whose turn it is; and a port sends it from where it lies.
//! Then the frame comes home.
//!
//! [`config`] says what is to be done, [`control`] builds and stops the datapath, [`telemetry`] shows what it did, [`api`]
//! is how programs ask, [`cli`] is how people do. A room uses only the rooms before it; `tests/tidy.rs` holds the source to that.

// Rates and instants.
pub mod units;
// Clocks.
pub mod time;
// Bytes and their meaning.
pub mod wire;
// A frame is a number.
pub mod frame;
// Where frames enter and leave.
pub mod port;
// Who talks to whom.
pub mod flow;
// What a packet is for.
pub mod classify;
// How much may leave, and whose turn it is.
pub mod qos;
// The path of a frame from one port to the other.
pub mod datapath;
// The policy file, from text to types.
pub mod config;
// Numbers for people and programs.
pub mod telemetry;
// What starts, watches and stops the datapath.
pub mod control;
// How programs ask.
pub mod api;
// How people ask.
pub mod cli;
