//! Tidegate: a transparent inline QoS bridge.

// Rates and instants.
pub mod units;
// Clocks.
pub mod time;
// Bytes and their meaning.
pub mod wire;
// A frame is a number.
pub mod frame;
// The policy file, from text to types.
pub mod config;
// Where frames enter and leave.
pub mod port;
