//! The whole datapath over simulated ports: both halves, in virtual time unless a test says otherwise.
//!
//! Debug builds check the owner of every frame at every hand-over and each half's account at the end of every turn, so
//! each of these tests is a test of those, too.

// Both halves between two ports, and the loop that turns them.
mod bridge;
// What is sent, and when.
mod traffic;
// Ports and clocks for what simulated ones don't show.
mod ports;

// What leaves, measured against the rates of the policy.
mod shaping;
// Who goes first, and who still goes.
mod priority;
// Frames of a flow leave as they came.
mod order;
// Flows that share a class.
mod fair;
// What is beyond its profile is dropped or demoted.
mod police;
// What is only observed goes past all that.
mod observe;
// No frame is lost from the arena, whatever is dropped.
mod conservation;
// What is dropped by intent, and how it is told.
mod drops;
// With which marks frames leave.
mod marking;
// The policy, changed while flows are known.
mod adoption;
// What a pause of the worker makes stale.
mod stall;
// Wires that come, go, and are asked how they are.
mod life;
// The halves on two threads, by the real clock.
mod threads;
