//! What a packet is for: control protocols, then the operator's rules, then well-known ports, then the default; and whose it is.
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
// Whose traffic it is.
mod subscribers;
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
pub use subscribers::{Subscriber, Subscribers};
pub use verdict::{Reason, RuleIndex, Verdict};

use crate::frame::Side;
use crate::wire::{Packet, protocol};

/// The addresses inside and outside of a packet that came in at `side`, as numbers with IPv4 mapped; `None` if it isn't IP.
fn ends(packet: &Packet, frame: &[u8], side: Side) -> Option<(u128, u128)> {
    let (source, destination) = packet.addresses(frame)?;
    let (source, destination) = (u128::from_be_bytes(source), u128::from_be_bytes(destination));
    Some(match side {
        Side::Inside => (source, destination),
        Side::Outside => (destination, source),
    })
}

/// Source and destination port, if the packet has them: not in a later fragment, where both are zero.
fn ports(packet: &Packet) -> Option<[u16; 2]> {
    let ports = [packet.source_port, packet.destination_port];
    (protocol::has_ports(packet.protocol) && ports != [0, 0]).then_some(ports)
}
