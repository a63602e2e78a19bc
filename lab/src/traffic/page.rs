//! Pages over TCP: a reader asks for one again and again, as a browser does, and the time of each is what a person feels.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::udp::Latency;
use super::{parse_report, report, say_ready, until_input_closes};
use crate::clock;
use crate::command::Process;
use crate::netns::{Host, START_LIMIT};

/// A page that stalls for longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a reader reports.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Pages {
    /// Pages read to their end.
    pub read: u64,
    /// Pages that failed or stalled for 5 s.
    pub failed: u64,
    /// Bytes of all pages.
    pub bytes: u64,
    /// How long the reader read.
    pub nanos: u64,
    /// From the connect to the last byte of each page.
    pub time: Latency,
}

/// A reader at one host and its server at another.
#[derive(Debug)]
pub struct Reader {
    reader: Process,
    _server: Process,
}

impl Reader {
    /// Starts a server of pages of `bytes` at `server`, then a reader at `client` that begins one every `interval`.
    pub fn start(client: &Host, server: &Host, port: u16, bytes: u64, interval: Duration) -> Result<Reader> {
        let mut pages = server.helper(format!("serve --port {port} --bytes {bytes}")).spawn()?;
        pages.wait_for(super::READY, START_LIMIT)?;
        let words = format!("read --from {}:{port} --interval-ms {}", server.ipv4, interval.as_millis());
        let mut reader = client.helper(words).spawn()?;
        reader.wait_for(super::READY, START_LIMIT)?;
        Ok(Reader { reader, _server: pages })
    }

    /// Ends the reader after its present page.
    pub fn finish(mut self) -> Result<Pages> {
        parse_report(&self.reader.finish(PATIENCE + START_LIMIT)?)
    }
}

/// The body of `tidegate-lab serve`: answers every connection to `port` with `bytes` bytes, until its standard input closes.
pub fn serve(port: u16, bytes: u64) -> Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port)).with_context(|| format!("cannot listen on TCP port {port}"))?;
    let closed = until_input_closes();
    say_ready()?;
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            // A reader that goes away early is its own business.
            thread::spawn(move || io::copy(&mut io::repeat(b'.').take(bytes), &mut { connection }));
        }
    });
    while !closed.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The body of `tidegate-lab read`: reads a page every `interval`, or at once if the last took longer, until its standard
/// input closes.
pub fn read(from: SocketAddr, interval: Duration) -> Result<()> {
    let closed = until_input_closes();
    let mut time = Latency::histogram();
    let (mut read, mut failed, mut bytes) = (0, 0, 0);
    say_ready()?;
    let start = clock::now();
    let mut next = start;
    while !closed.load(Ordering::Relaxed) {
        let began = clock::now();
        match page(from) {
            Ok(length) => {
                time.saturating_record(clock::now() - began);
                read += 1;
                bytes += length;
            }
            Err(_) => failed += 1,
        }
        next = (next + interval.as_nanos() as u64).max(clock::now());
        clock::sleep_until(next);
    }
    report(&Pages { read, failed, bytes, nanos: clock::now() - start, time: Latency::of(&time) })
}

fn page(from: SocketAddr) -> io::Result<u64> {
    let mut connection = TcpStream::connect_timeout(&from, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    io::copy(&mut connection, &mut io::sink())
}
