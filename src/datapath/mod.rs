//! The path of a frame from one port to the other, in two halves that share nothing but lock-free rings.
//!
//! [`Ingress`] receives, classifies and pushes; [`Egress`] queues, shapes and transmits. One [`worker`] runs either or both.
//! Nothing here allocates after start, takes a lock, or reads a clock: `now` is an argument of every turn.

// Why a frame was dropped.
pub mod drop;
// What each half has seen, and the equations that must hold.
pub mod counters;
// How long frames stayed.
pub mod sojourn;
// What the stages of a turn cost.
pub mod stages;
// What a half tells about itself, and how it is asked.
pub mod report;
// What the datapath is told to do; immutable.
pub mod policy;
// What becomes of a frame that is beyond its profile.
pub mod police;
// The lock-free priority rings between the halves.
pub mod bands;
// The verdict of a frame.
pub mod judge;
// Port to ring.
pub mod ingress;
// Ring to port.
pub mod egress;
// What becomes of a frame that has stood for too long.
mod congestion;
// The end of a wire.
pub mod drain;
// A thread that turns the halves.
pub mod worker;
// How a worker waits for work.
pub mod idle;
// How a sleeper and those who bring it work don't miss each other.
pub mod bell;
// The bell's atomics.
mod sync;

pub use bands::BANDS;
pub use drop::DropReason;
pub use egress::Egress;
pub use ingress::Ingress;
pub use judge::Judge;
pub use policy::Policy;
