//! One datagram in each of many flows, so that whoever remembers flows has much to remember.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{parse_report, report};
use crate::netns::Host;

/// Ports below are for the lab's own streams.
const FIRST_PORT: u16 = 10_000;
/// Flows by one sending socket: one to each port from the first up.
const PER_SOCKET: u64 = 50_000;
/// How long a spray of some hundred thousand flows may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Sends one datagram in each of `flows` UDP flows from `from` to `to` and waits until all are sent.
pub fn spray_from(from: &Host, to: &Host, flows: u64) -> Result<()> {
    let sent: u64 =
        parse_report(&from.helper(format!("spray --to {} --flows {flows}", to.ipv4)).spawn()?.wait(LIMIT)?)?;
    ensure!(sent == flows, "only {sent} of {flows} flows could be sent");
    Ok(())
}

/// The body of `tidegate-lab spray`: a socket blocks while its queue is full, so nothing is sent faster than the host can.
/// Reports the number of flows.
pub fn spray(to: Ipv4Addr, flows: u64) -> Result<()> {
    let (mut sent, mut first) = (0, 0);
    while first < flows {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        for index in 0..PER_SOCKET.min(flows - first) {
            let port = FIRST_PORT + index as u16;
            // An answer that nobody listens there ends the next call early; the one after it sends.
            let again = |_| socket.send_to(&[0; 18], (to, port));
            sent += u64::from(socket.send_to(&[0; 18], (to, port)).or_else(again).is_ok());
        }
        first += PER_SOCKET;
    }
    report(&sent)
}
