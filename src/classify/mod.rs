//! What a packet is for: control protocols, then the operator's rules, then well-known ports, then the default.
//!
//! A verdict is made on the first packet of a flow and cached with it; nothing here keeps state, and both directions of a
//! flow get the same verdict unless a rule looks at the DSCP.

// The classes and their priority bands.
mod class;
// What was decided about a packet, and why.
mod verdict;
// Link and routing protocols, which keep the network itself alive.
mod control;
// Address blocks.
mod prefix;
// What the operator says.
mod rules;
// Well-known ports and protocols.
mod apps;
// The order in which these are asked.
mod classifier;
// Frames to judge.
#[cfg(test)]
mod frames;

pub use apps::{AppId, Apps, AppsError};
pub use class::{BANDS, Class};
pub use classifier::Classifier;
pub use control::is_control;
pub use prefix::Prefix;
pub use rules::{Facts, Rule, Rules};
pub use verdict::{Reason, Verdict};

use crate::wire::{Packet, protocol};

/// Source and destination port, if the packet has them: not in a later fragment, where both are zero.
fn ports(packet: &Packet) -> Option<[u16; 2]> {
    let ports = [packet.source_port, packet.destination_port];
    (protocol::has_ports(packet.protocol) && ports != [0, 0]).then_some(ports)
}
