//! What each stage costs, one file per subject. One program for all of them, because to link one takes longer than to run it.

// Reading a frame.
mod wire;
// Finding the flow of a packet.
mod flow;
// Judging the first packet of a flow.
mod classify;
// Queueing a frame and sending it home.
mod frame;
// The rings between the halves.
mod bands;
// Deciding when a frame leaves.
mod qos;
// All of it together.
mod pipeline;

criterion::criterion_main!(
    wire::benches,
    flow::benches,
    classify::benches,
    frame::benches,
    bands::benches,
    qos::benches,
    pipeline::benches,
);
