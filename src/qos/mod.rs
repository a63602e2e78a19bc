//! How much may leave, and whose turn it is.
//!
//! Everything here is driven by `now` and never reads a clock, so the same code shapes a network card and a capture.

// Token buckets in exact integers.
pub mod bucket;
// How well a stream keeps to its profile, as a colour for each frame.
pub mod meter;
// The shaping tree of one direction: a link and the leaves that share it.
pub mod tree;
// One class's queue and its claims on the link.
mod leaf;
// When a queue that stands must lose a frame: CoDel.
pub mod codel;
// A leaf's queue by flow: FQ-CoDel.
pub mod fair;
// The flow queues of a tree: one pool that all leaves draw from.
mod flows;
// The bucket of a link, and what goes past the leaves that share it.
mod link;
// What a frame costs on a given kind of link.
mod overhead;
// With which mark a frame leaves.
mod mark;

pub use bucket::Bucket;
pub use codel::Codel;
pub use fair::Congested;
pub use mark::{CODE_POINTS, Mark, Marks};
pub use meter::{Colour, Meter, MeterSpec, Profile};
pub use overhead::Overhead;
pub use tree::{LeafSpec, OBSERVED, Refusal, Tree, TreeSpec};
