//! Tidegate: a transparent inline QoS bridge.

// Rates and instants.
pub mod units;
// Clocks.
pub mod time;
// Bytes and their meaning.
pub mod wire;
// A frame is a number.
pub mod frame;
// How much may leave, and whose turn it is.
pub mod qos;
// Where frames enter and leave.
pub mod port;
