//! The atomics of the bell, in a place of their own so that a model checker can put its own there (`tests/loom_bell.rs`).

pub(super) use std::sync::atomic::{AtomicBool, Ordering, fence};
