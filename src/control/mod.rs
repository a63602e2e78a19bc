//! What starts, watches and stops the datapath.

// Opens the wires, sends the workers out, looks after both, and gives the last account.
pub mod supervisor;
// One wire as control sees it.
mod wire;
// The workers' threads.
mod crew;
// Which core is whose.
mod cores;
// Link loss, carried from one port to the other.
mod carry;
// The same datapath over a capture, in virtual time.
pub mod replay;
// The whole path between ports in memory, for measuring.
pub mod bench;
