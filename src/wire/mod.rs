//! Bytes and their meaning: one file per protocol, views that never copy, and [`Packet`], which walks all of them.
//!
//! No I/O, no allocation, no `unsafe`. A view's constructor checks what its accessors need, so no accessor panics.

// What one frame says, all layers together.
mod packet;

pub use packet::{Fragment, Network, Packet};
