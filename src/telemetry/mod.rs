//! Numbers for people and programs.

// One look at all counters, and how it is shown.
pub mod snapshot;
// One line per flow, for programs.
pub mod flows;

pub use snapshot::Snapshot;
