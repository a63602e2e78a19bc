//! Real AF_XDP ports on veth pairs. Needs root; the names of the tests say what a port promises.

// Network namespaces, and the machines at the far ends.
mod lab;
// A datapath of a few lines.
mod forwarder;
// Who gets the frames of a port: the socket of a queue that is served, or the kernel.
mod beat;
// What passes, and what is counted when it doesn't.
mod forwarding;
// What is changed on the interfaces, and that it is undone.
mod settings;
// What is refused, and with which words.
mod refusals;
// The kernel bridge below.
mod below;
// The firewall on bridges, which is the network namespace's.
mod firewall;
// One process per port.
mod locks;
// Links that come and go.
mod upkeep;
