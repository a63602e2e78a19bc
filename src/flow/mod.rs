//! Who talks to whom: the key of a flow, and the bounded cache of what was decided about it.
//!
//! The cached value is generic, so the cache knows nothing of how a verdict comes about.

// The two ends of a flow, the same whichever of them is speaking.
mod key;
// What is known of one flow, and what is told of it at its end.
mod record;
// The cache: fixed memory, eight ways, the least recently seen flow gives way.
mod table;

pub use key::{Direction, Key};
pub use record::{Flow, Record};
pub use table::{FlowTable, Place};
