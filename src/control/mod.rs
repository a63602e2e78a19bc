//! What starts, watches and stops the datapath.

// Builds the wire, turns it until told to stop, and gives the last account.
pub mod supervisor;
// The same datapath over a capture, in virtual time.
pub mod replay;
// The whole path between ports in memory, for measuring.
pub mod bench;
