//! Tidegate: a transparent inline QoS bridge.

// Rates and instants.
pub mod units;
// Clocks.
pub mod time;
// Bytes and their meaning.
pub mod wire;
// A frame is a number.
pub mod frame;
// Who talks to whom.
pub mod flow;
// What a packet is for.
pub mod classify;
// Where frames enter and leave.
pub mod port;
