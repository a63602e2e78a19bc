//! Numbers for people and programs.

// One look at all counters of a wire, and how it is shown.
pub mod account;
// How long frames stayed and stages took.
pub mod times;
// One look at everything.
pub mod snapshot;
// A snapshot for Prometheus.
pub mod prometheus;
// One line per flow, for programs.
pub mod flows;

pub use account::{Account, WireState};
pub use snapshot::{Published, Snapshot};
pub use times::Times;
