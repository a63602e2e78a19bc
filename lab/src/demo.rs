//! Six classes of traffic at once through one link, first without, then with Tidegate: what each class gets, in one table.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::experiment::EF;
use crate::netns::{Direction, Lab, Layout};
use crate::picture::{self, Bars};
use crate::system::{Rates, System, tidegate_policy};
use crate::table::{Table, mbit, ms, percent};
use crate::traffic::iperf::{Iperf, Transfer};
use crate::traffic::page::Reader;
use crate::traffic::udp::{Flow, Stream};
use crate::{clock, interrupt};

/// Assured forwarding 41, RFC 2597: conferencing video.
const AF41: u8 = 34;

/// The policy by which Tidegate tells the demo's traffic apart.
const RULES: &str = r#"[[rule]]
match = { dscp = "EF" }
class = "voice"

[[rule]]
match = { dscp = "AF41" }
class = "video"

[[rule]]
match = { protocol = "udp", port = 27015 }
class = "gaming"

[[rule]]
match = { protocol = "tcp", port = 443 }
class = "web"

[[rule]]
match = { protocol = "tcp", port = 873 }
class = "file"

[[rule]]
match = { protocol = "tcp", port = 6881 }
class = "background"
"#;

/// Runs both halves at `rates`, `seconds` each, prints the table and Tidegate's own summary, and draws `picture` if wanted.
pub fn run(helper: &Path, tidegate: &Path, rates: Rates, seconds: u32, picture: Option<&Path>) -> Result<()> {
    let link = System::BridgeLink(rates);
    let shaped = System::Tidegate { binary: tidegate.to_owned(), policy: tidegate_policy(Some(rates), RULES) };
    println!(
        "A client and a server, {} of link between them, six kinds of download at once.\n",
        mbit(rates.download as f64)
    );
    let (without, _) = half(helper, &link, "without Tidegate", seconds)?;
    let (with, summary) = half(helper, &shaped, "with Tidegate", seconds)?;

    let head = ["class", "traffic", "without: rate", "p50", "p99", "loss", "|", "with: rate", "p50", "p99", "loss"];
    let mut table = Table::new(head);
    for (before, after) in without.iter().zip(&with) {
        let names = [before.class.to_owned(), before.traffic.to_owned()];
        let cells = before.cells().into_iter().chain(["|".to_owned()]).chain(after.cells());
        table.row(names.into_iter().chain(cells));
    }
    println!("\nwithout: the kernel's bridge and one token bucket with 100 ms of queue, as in a modem");
    println!("with:    Tidegate at the same rate\n");
    println!("{table}");
    println!("p50 and p99 are one-way latency for voice, video and gaming, the time of a whole page for web,");
    println!("and TCP's round trip for file and background.\n");
    println!("Tidegate's own account:\n\n{}", summary.trim());
    if let Some(path) = picture {
        let bars = |(before, after): (&Share, &Share)| Bars {
            label: format!("{} ({})", before.class, before.traffic),
            without: before.p99,
            with: after.p99,
        };
        let rows: Vec<Bars> = without.iter().zip(&with).map(bars).collect();
        let title = format!("99th percentile of latency, six downloads at once over {}", mbit(rates.download as f64));
        std::fs::write(path, picture::svg(&title, &rows))
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("\nThe picture is in {}.", path.display());
    }
    Ok(())
}

/// What one class got.
struct Share {
    class: &'static str,
    traffic: &'static str,
    rate: f64,
    p50: u64,
    p99: u64,
    /// For datagrams only: TCP repairs its losses.
    loss: Option<f64>,
}

impl Share {
    fn cells(&self) -> [String; 4] {
        [mbit(self.rate), ms(self.p50), ms(self.p99), self.loss.map_or("-".to_owned(), percent)]
    }
}

fn half(helper: &Path, system: &System, title: &str, seconds: u32) -> Result<(Vec<Share>, String)> {
    let mut lab = Lab::build(Layout::Box, helper)?;
    lab.keep_awake()?;
    let running = system.start(&lab)?;
    let shares = traffic(&lab, title, seconds).map_err(|error| running.explain(error))?;
    Ok((shares, running.stop()?))
}

/// All six at once, downstream. Datagrams are timed by instruments, so that what is measured is the box.
fn traffic(lab: &Lab, title: &str, seconds: u32) -> Result<Vec<Share>> {
    let (client, server) = (&lab.client, &lab.server);
    let instrument = |stream: Stream, dscp| Stream { dscp, instrument: true, ..stream };
    let datagrams = [
        ("voice", "4 calls, EF", instrument(Stream::of_rate(16384, 172, 380_000), EF)),
        ("video", "conference, AF41", instrument(Stream::of_rate(50004, 1200, 4_000_000), AF41)),
        ("gaming", "UDP port 27015", instrument(Stream::of_rate(27015, 100, 133_000), 0)),
    ];
    let transfers = [
        ("file", "4 TCP, port 873", Transfer { port: 873, ..Transfer::new(Direction::Download, 4, seconds) }),
        ("background", "2 TCP, port 6881", Transfer { port: 6881, ..Transfer::new(Direction::Download, 2, seconds) }),
    ];
    let bulk = transfers.iter().map(|(.., transfer)| Iperf::start(lab, transfer)).collect::<Result<Vec<_>>>()?;
    let flows = datagrams.iter().map(|(.., stream)| Flow::start(server, client, stream)).collect::<Result<Vec<_>>>()?;
    let reader = Reader::start(client, server, 443, 100_000, Duration::from_millis(250))?;

    show_progress(lab, title, seconds)?;

    let mut shares = Vec::new();
    // The datagrams and pages end first: what they meet is the full link.
    for ((class, traffic, _), flow) in datagrams.into_iter().zip(flows) {
        let outcome = flow.finish()?;
        let rate = outcome.received.bytes as f64 * 8e9 / outcome.received.nanos.max(1) as f64;
        let latency = outcome.received.latency;
        shares.push(Share { class, traffic, rate, p50: latency.p50, p99: latency.p99, loss: Some(outcome.loss()) });
    }
    let pages = reader.finish()?;
    let rate = pages.bytes as f64 * 8e9 / pages.nanos as f64;
    shares.push(Share {
        class: "web",
        traffic: "100 kB pages",
        rate,
        p50: pages.time.p50,
        p99: pages.time.p99,
        loss: None,
    });
    for ((class, traffic, _), iperf) in transfers.into_iter().zip(bulk) {
        let achieved = iperf.finish()?;
        let (p50, p99) = (achieved.round_trip.p50, achieved.round_trip.p99);
        shares.push(Share { class, traffic, rate: achieved.bits_per_second, p50, p99, loss: None });
    }
    Ok(shares)
}

/// One line, rewritten twice a second, until a second before the bulk traffic ends.
fn show_progress(lab: &Lab, title: &str, seconds: u32) -> Result<()> {
    let terminal = std::io::stdout().is_terminal();
    if !terminal {
        println!("{title} …");
    }
    let start = clock::now();
    let (mut then, mut bytes) = (start, lab.client.received_bytes()?);
    for half in 1..=2 * u64::from(seconds - 1) {
        clock::sleep_until(start + half * 500_000_000);
        interrupt::check()?;
        if terminal {
            let (received, now) = (lab.client.received_bytes()?, clock::now());
            let rate = (received - bytes) as f64 * 8e9 / (now - then) as f64;
            (then, bytes) = (now, received);
            print!("\r{title}: {:>4.1} of {seconds} s, the client receives {:<14}", half as f64 / 2.0, mbit(rate));
            std::io::stdout().flush()?;
        }
    }
    if terminal {
        println!();
    }
    Ok(())
}
