//! Paced datagrams that carry a number and the time of their sending, and the sink that counts them: loss, copies, order,
//! and the time each was on its way.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use rustix::net::sockopt;
use serde::{Deserialize, Serialize};

use super::{UDP_HEADERS, parse_report, report, say_ready, until_input_closes, wire_bytes};
use crate::clock;
use crate::command::{Invocation, Process};
use crate::netns::{Host, START_LIMIT};

/// Number and time: the least payload.
const STAMP: usize = 16;
/// Datagrams are due in groups no closer than this, so that a fast sender makes one sleep for several.
const GROUP_NANOS: u64 = 100_000;
/// A sender that was kept from its core makes up for it in bursts of at most this many datagrams.
const CATCH_UP: u64 = 256;
/// How long a sink listens on after it is told to end: longer than any queue of the lab.
const LINGER: Duration = Duration::from_millis(500);
/// Latencies above this count as this.
const LATENCY_MAX: u64 = 60_000_000_000;
/// What a socket may hold: a sink must never be the place of the loss, and a sender must not wait for a queue in the box,
/// whose kernel counts it against the sender's socket.
const BUFFER: usize = 64 << 20;

/// A datagram older than this on arrival is stale: it says what its sender no longer means.
pub const STALE_NANOS: u64 = 100_000_000;

/// A stream of datagrams to be sent.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Where to.
    pub port: u16,
    /// Payload bytes of each, at least 16.
    pub payload: usize,
    /// The time from one to the next.
    pub interval_nanos: u64,
    /// The number of datagrams, or none for no end.
    pub count: Option<u64>,
    /// The differentiated services code point, 0 to 63.
    pub dscp: u8,
    /// Sent and received before everything else on the core: for probes, not for load.
    pub instrument: bool,
}

impl Stream {
    /// An endless stream of frames of `payload` bytes that takes `bits_per_second` on the wire.
    pub fn of_rate(port: u16, payload: usize, bits_per_second: u64) -> Stream {
        let bits = wire_bytes(payload as u64 + UDP_HEADERS) * 8;
        let interval_nanos = bits * 1_000_000_000 / bits_per_second;
        Stream { port, payload, interval_nanos, count: None, dscp: 0, instrument: false }
    }

    /// Probes of a payload like a call's, `count` of them at 1 kHz, which go and are timed before everything else.
    pub fn probes(port: u16, dscp: u8, count: u64) -> Stream {
        Stream { count: Some(count), dscp, ..Stream::steady(port, 1_000) }
    }

    /// An endless stream of small datagrams, `per_second` of them, which go and are timed before everything else.
    pub fn steady(port: u16, per_second: u64) -> Stream {
        let interval_nanos = 1_000_000_000 / per_second;
        Stream { port, payload: 172, interval_nanos, count: None, dscp: 0, instrument: true }
    }
}

/// What a sender reports.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sent {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that the socket refused.
    pub refused: u64,
    /// How long it sent.
    pub nanos: u64,
    /// The longest time from one datagram to the next: more than the stream's own interval if the sender was kept from its
    /// core.
    pub pause: u64,
}

/// What a sink reports.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Received {
    /// Datagrams received, copies included.
    pub received: u64,
    /// Payload bytes received.
    pub bytes: u64,
    /// Datagrams whose number had come before.
    pub duplicates: u64,
    /// Datagrams that came after one with a higher number.
    pub reordered: u64,
    /// The highest number that came; none if nothing did.
    pub highest: Option<u64>,
    /// Datagrams, copies included, that had been on their way for longer than [`STALE_NANOS`].
    pub stale: u64,
    /// The time from the first to the last.
    pub nanos: u64,
    /// The longest silence between two arrivals.
    pub silence: u64,
    /// The time on the way.
    pub latency: Latency,
}

/// One-way latency in nanoseconds, to three digits.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// The least.
    pub min: u64,
    /// Half are below.
    pub p50: u64,
    /// 99 of 100 are below.
    pub p99: u64,
    /// 999 of 1000 are below.
    pub p999: u64,
    /// The greatest.
    pub max: u64,
}

impl Latency {
    /// The quantiles of `histogram`; zeros if it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Latency {
        Latency {
            min: histogram.min(),
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }

    /// A histogram for latencies in nanoseconds.
    pub fn histogram() -> Histogram<u64> {
        Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("the bounds are constants within hdrhistogram's own")
    }
}

/// Both reports of one stream.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// The sender's.
    pub sent: Sent,
    /// The sink's.
    pub received: Received,
}

impl Outcome {
    /// The datagrams that never came.
    pub fn lost(&self) -> u64 {
        self.sent.sent - (self.received.received - self.received.duplicates)
    }

    /// The longest time for which nothing came, in nanoseconds: between two arrivals, or from the last arrival to the end
    /// of the sending.
    pub fn silence(&self) -> u64 {
        let came = self.received.highest.map_or(0, |highest| highest + 1);
        let interval = self.sent.nanos / self.sent.sent.max(1);
        self.received.silence.max(self.sent.sent.saturating_sub(came) * interval)
    }

    /// The part that never came, 0 to 1.
    pub fn loss(&self) -> f64 {
        self.lost() as f64 / self.sent.sent.max(1) as f64
    }
}

/// A stream on its way from one host to another.
#[derive(Debug)]
pub struct Flow {
    sender: Process,
    sink: Process,
}

impl Flow {
    /// Starts the sink, then the sender.
    pub fn start(from: &Host, to: &Host, stream: &Stream) -> Result<Flow> {
        let place = |helper: Invocation| if stream.instrument { helper.realtime() } else { helper };
        let mut sink = place(to.helper(format!("sink --port {}", stream.port))).spawn()?;
        sink.wait_for(super::READY, START_LIMIT)?;
        let count = stream.count.map_or(String::new(), |count| format!("--count {count}"));
        let mut sender = place(from.helper(format!(
            "send --to {}:{} --payload {} --interval-ns {} --dscp {} {count}",
            to.ipv4, stream.port, stream.payload, stream.interval_nanos, stream.dscp
        )))
        .spawn()?;
        sender.wait_for(super::READY, START_LIMIT)?;
        Ok(Flow { sender, sink })
    }

    /// Waits until the sender has sent its count, at most `limit`, then for the stragglers.
    pub fn complete(mut self, limit: Duration) -> Result<Outcome> {
        let sent = parse_report(&self.sender.wait(limit)?)?;
        self.collect(sent)
    }

    /// Ends the sender now, then waits for the stragglers.
    pub fn finish(self) -> Result<Outcome> {
        let [outcome] = Flow::finish_all([self])?;
        Ok(outcome)
    }

    /// Ends several at about the same time.
    pub fn finish_all<const N: usize>(mut flows: [Flow; N]) -> Result<[Outcome; N]> {
        flows.iter_mut().for_each(|flow| flow.sender.close_input());
        let mut sent = Vec::new();
        for flow in &mut flows {
            sent.push(parse_report(&flow.sender.wait(START_LIMIT)?)?);
        }
        flows.iter_mut().for_each(|flow| flow.sink.close_input());
        let mut outcomes = Vec::new();
        for (flow, sent) in flows.iter_mut().zip(sent) {
            outcomes.push(flow.collect(sent)?);
        }
        Ok(outcomes.try_into().expect("one outcome for each flow"))
    }

    fn collect(&mut self, sent: Sent) -> Result<Outcome> {
        let received = parse_report(&self.sink.finish(LINGER + START_LIMIT)?)?;
        Ok(Outcome { sent, received })
    }
}

/// The body of `tidegate-lab send`: sends by absolute deadlines until its count, or until its standard input closes.
pub fn send(to: SocketAddr, payload: usize, interval_nanos: u64, count: Option<u64>, dscp: u8) -> Result<()> {
    if payload < STAMP || interval_nanos == 0 || dscp > 63 {
        bail!(
            "send: got payload {payload}, interval {interval_nanos} ns, dscp {dscp}; want at least {STAMP}, 1 and at most 63"
        );
    }
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    match to.ip() {
        IpAddr::V4(_) => sockopt::set_ip_tos(&socket, dscp << 2)?,
        IpAddr::V6(_) => sockopt::set_ipv6_tclass(&socket, u32::from(dscp) << 2)?,
    }
    sockopt::set_socket_send_buffer_size_force(&socket, BUFFER)?;
    let mut datagram = vec![0; payload];
    let closed = until_input_closes();
    clock::sharpen();
    say_ready()?;

    let (start, count) = (clock::now(), count.unwrap_or(u64::MAX));
    let (mut next, mut refused, mut last, mut pause) = (0, 0, start, 0);
    while next < count && !closed.load(Ordering::Relaxed) {
        // The numbers of a group: all that are due now.
        let due = ((clock::now() - start) / interval_nanos + 1).min(count);
        for _ in 0..due.saturating_sub(next).min(CATCH_UP) {
            let now = clock::now();
            pause = pause.max(now - last);
            last = now;
            datagram[..8].copy_from_slice(&next.to_be_bytes());
            datagram[8..STAMP].copy_from_slice(&now.to_be_bytes());
            match socket.send_to(&datagram, to) {
                Ok(_) => next += 1,
                Err(_) => refused += 1,
            }
        }
        let apart = if interval_nanos < GROUP_NANOS { clock::now() + GROUP_NANOS } else { 0 };
        clock::sleep_until(apart.max(start + next * interval_nanos));
    }
    report(&Sent { sent: next, refused, nanos: clock::now() - start, pause })
}

/// The body of `tidegate-lab sink`: counts what comes to `port` until a while after its standard input closes.
pub fn sink(port: u16) -> Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", port)).with_context(|| format!("cannot listen on UDP port {port}"))?;
    sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER)?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let closed = until_input_closes();
    say_ready()?;

    let mut account = Account::new();
    let mut datagram = vec![0; 64 << 10];
    let mut end = None;
    while end.is_none_or(|end| clock::now() < end) {
        if let Ok(length) = socket.recv(&mut datagram) {
            account.count(clock::now(), &datagram[..length]);
        }
        if end.is_none() && closed.load(Ordering::Relaxed) {
            end = Some(clock::now() + LINGER.as_nanos() as u64);
        }
    }
    report(&account.received())
}

/// A sink's tally.
struct Account {
    seen: Vec<u64>,
    highest: Option<u64>,
    received: u64,
    bytes: u64,
    duplicates: u64,
    reordered: u64,
    stale: u64,
    first: u64,
    last: u64,
    silence: u64,
    latency: Histogram<u64>,
}

impl Account {
    /// Numbers up to 2^28 are told apart, which is 32 MiB of bits.
    const NUMBERS: u64 = 1 << 28;

    fn new() -> Account {
        let (received, bytes, duplicates, reordered, stale) = (0, 0, 0, 0, 0);
        let (first, last, silence, latency) = (0, 0, 0, Latency::histogram());
        let (seen, highest) = (Vec::new(), None);
        Account { seen, highest, received, bytes, duplicates, reordered, stale, first, last, silence, latency }
    }

    fn count(&mut self, now: u64, datagram: &[u8]) {
        let Some((stamp, _)) = datagram.split_first_chunk::<STAMP>() else { return };
        let word = |at: usize| u64::from_be_bytes(stamp[at..at + 8].try_into().expect("eight bytes"));
        let (number, sent) = (word(0), word(8));
        if number >= Self::NUMBERS {
            return;
        }
        if self.received == 0 {
            self.first = now;
        } else {
            self.silence = self.silence.max(now - self.last);
        }
        self.last = now;
        self.stale += u64::from(now.saturating_sub(sent) > STALE_NANOS);
        self.received += 1;
        self.bytes += datagram.len() as u64;
        let (index, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.seen.len() <= index {
            self.seen.resize(index + 1, 0);
        }
        if self.seen[index] & bit != 0 {
            self.duplicates += 1;
            return;
        }
        self.seen[index] |= bit;
        self.reordered += u64::from(self.highest.is_some_and(|highest| number < highest));
        self.highest = self.highest.max(Some(number));
        self.latency.saturating_record(now.saturating_sub(sent).max(1));
    }

    fn received(&self) -> Received {
        Received {
            received: self.received,
            bytes: self.bytes,
            duplicates: self.duplicates,
            reordered: self.reordered,
            highest: self.highest,
            stale: self.stale,
            nanos: self.last - self.first,
            silence: self.silence,
            latency: Latency::of(&self.latency),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(number: u64, sent: u64) -> Vec<u8> {
        [number.to_be_bytes(), sent.to_be_bytes()].concat()
    }

    #[test]
    fn the_account_tells_copies_from_disorder() {
        let mut account = Account::new();
        for (now, number) in [(1_000, 0), (2_000, 2), (3_000, 1), (4_000, 2), (5_000, 4)] {
            account.count(now, &datagram(number, now - 500));
        }
        account.count(6_000, b"stray");
        let received = account.received();
        assert_eq!((received.received, received.duplicates, received.reordered), (5, 1, 1));
        assert_eq!((received.nanos, received.latency.min, received.latency.max), (4_000, 500, 500));
        assert_eq!((received.silence, received.stale), (1_000, 0));
        let outcome = Outcome { sent: Sent { sent: 5, refused: 0, nanos: 5_000, pause: 0 }, received };
        assert_eq!((outcome.lost(), outcome.silence()), (1, 1_000));
        // Nothing came of the last four.
        let outcome = Outcome { sent: Sent { sent: 9, refused: 0, nanos: 9_000, pause: 0 }, received };
        assert_eq!((outcome.lost(), outcome.silence()), (5, 4_000));
    }

    #[test]
    fn silences_and_what_is_stale_are_told() {
        let mut account = Account::new();
        for (now, age, number) in [(1_000, 0, 0), (900_001_000, STALE_NANOS + 1, 1), (900_002_000, STALE_NANOS, 2)] {
            account.count(now, &datagram(number, now - age));
        }
        // A copy that comes late is stale too.
        account.count(900_003_000, &datagram(1, 0));
        let received = account.received();
        assert_eq!((received.silence, received.stale, received.duplicates), (900_000_000, 2, 1));
    }

    #[test]
    fn a_rate_is_of_the_wire() {
        // 1400 + 42 + 24 bytes at 100 Mbit/s.
        assert_eq!(Stream::of_rate(9, 1400, 100_000_000).interval_nanos, 117_280);
    }
}
