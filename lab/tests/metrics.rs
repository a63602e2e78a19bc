//! Does Tidegate tell Prometheus the truth? promtool reads what `/metrics` says, a real Prometheus scrapes it while known
//! traffic passes, and its answers are compared with that traffic.

mod bed;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tidegate_lab::command::{self, Invocation, Process};
use tidegate_lab::gate::{API, Gate, api};
use tidegate_lab::metrics::Metrics;
use tidegate_lab::netns::Direction;
use tidegate_lab::system::tidegate_policy;
use tidegate_lab::traffic::udp::{Flow, Stream};
use tidegate_lab::{Lab, Layout, System};

/// Where the test's Prometheus listens, in the box's own namespace.
const PROMETHEUS: &str = "127.0.0.1:9190";
/// How long Prometheus may take to start, and to have scraped what stands still.
const LIMIT: Duration = Duration::from_secs(20);
/// Datagrams each way.
const COUNT: u64 = 2_000;
/// Their payload: at that length no other frame of the hosts is as long.
const PAYLOAD: usize = 700;

#[test]
fn prometheus_is_told_what_happened() {
    let Some(System::Tidegate { binary, policy }) = bed::tidegate(tidegate_policy(None, "") + &api()) else { return };
    for tool in ["prometheus", "promtool"] {
        let version = command::run(format!("{tool} --version"));
        let Some(_) = bed::found(tool, version) else { return };
    }
    let Some(lab) = bed::lab(Layout::Box) else { return };
    let mut gate = Gate::new(&lab, &binary, &policy).unwrap_or_else(|error| panic!("{error:#}"));
    let judged = run(&lab, &mut gate);
    judged.unwrap_or_else(|error| panic!("{error:#}\nTidegate printed:\n{}", gate.log()));
}

fn run(lab: &Lab, gate: &mut Gate) -> Result<()> {
    gate.start()?;
    gate.await_forwarding(|| lab.client.ping(lab.server.ipv4, 1))?;
    passes_promtool(gate)?;

    let prometheus = Prometheus::start(lab)?;
    let before = gate.metrics()?;
    known_traffic(lab)?;
    let now = quiet(gate)?;
    for port in now.values_of("tidegate_port_received_frames_total", "port") {
        let frames = |metrics: &Metrics| metrics.sum("tidegate_port_received_frames_total", &[("port", &port)]);
        let grown = frames(&now) - frames(&before);
        ensure!(grown >= COUNT as f64, "{COUNT} datagrams moved the counter of port {port} by {grown}");
        ensure!(grown <= COUNT as f64 + 100.0, "{COUNT} datagrams moved the counter of port {port} by {grown}");
    }
    prometheus.agrees(&now)?;

    // By Prometheus' own arithmetic: what came in is what left, was dropped, or is still here.
    let balance = "sum(tidegate_received_frames_total) - sum(tidegate_completed_frames_total) \
                   - sum(tidegate_dropped_frames_total) - sum(tidegate_abandoned_frames_total) \
                   - sum(tidegate_frames{place=~\"rings|queued|in_transmit\"})";
    ensure!(prometheus.ask(balance)? == 0.0, "frames that no counter explains:\n{}", now.text());
    ensure!(prometheus.ask("sum(abs(tidegate_unexplained_frames))")? == 0.0, "unexplained:\n{}", now.text());
    let lengths =
        "sum(rate(tidegate_port_received_bytes_total[1m])) / sum(rate(tidegate_port_received_frames_total[1m]))";
    let mean = prometheus.ask(lengths)?;
    ensure!((300.0..800.0).contains(&mean), "frames of {mean} bytes at the mean, of which most have {}", PAYLOAD + 42);
    ensure!(prometheus.ask("count(tidegate_build_info)")? == 1.0, "no tidegate_build_info:\n{}", now.text());
    let sojourn = prometheus.ask("sum(tidegate_sojourn_seconds_count)")?;
    ensure!(sojourn > 0.0, "no time in the box was measured");
    gate.stop(Signal::TERM).map(|_| ())
}

/// What `/metrics` says keeps to Prometheus' conventions.
fn passes_promtool(gate: &Gate) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("metrics");
    fs::write(&file, gate.metrics()?.text())?;
    // promtool reads its standard input only.
    let script = format!("promtool check metrics <{}", file.display());
    let said = Invocation::new("sh").arg("-c").arg(format!("{script} 2>&1")).run()?;
    ensure!(said.trim().is_empty(), "promtool complains:\n{said}");
    Ok(())
}

/// The same number of datagrams each way, all of which arrive.
fn known_traffic(lab: &Lab) -> Result<()> {
    let stream = |port| Stream { count: Some(COUNT), payload: PAYLOAD, ..Stream::steady(port, 1_000) };
    let flow = |direction, port| Flow::start(lab.sender(direction), lab.receiver(direction), &stream(port));
    let flows = [flow(Direction::Download, 6003)?, flow(Direction::Upload, 6004)?];
    for flow in flows {
        let outcome = flow.complete(LIMIT)?;
        ensure!(outcome.lost() == 0, "lost on the way: {outcome:?}");
    }
    Ok(())
}

/// The counters once they have stopped moving.
fn quiet(gate: &Gate) -> Result<Metrics> {
    let deadline = Instant::now() + LIMIT;
    let mut last = gate.metrics()?;
    loop {
        let now = gate.metrics()?;
        let received = |metrics: &Metrics| metrics.sum("tidegate_received_frames_total", &[]);
        if received(&now) == received(&last) {
            return Ok(now);
        }
        ensure!(Instant::now() < deadline, "the hosts are never quiet");
        last = now;
    }
}

/// A Prometheus of the test's own: a plain process with its data in a folder that goes with it.
struct Prometheus {
    _process: Process,
    _folder: TempDir,
    netns: String,
}

impl Prometheus {
    /// Starts it and waits until it has scraped Tidegate.
    fn start(lab: &Lab) -> Result<Prometheus> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("prometheus.yml");
        let target = format!("- job_name: tidegate\n  static_configs:\n  - targets: ['{API}']\n");
        let text = format!("global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n{target}");
        fs::write(&config, text)?;
        let data = folder.path().join("data");
        let process = lab
            .in_box("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address={PROMETHEUS}"))
            .spawn()?;
        let prometheus = Prometheus { _process: process, _folder: folder, netns: lab.middle.clone() };
        let deadline = Instant::now() + LIMIT;
        loop {
            match prometheus.ask("up{job=\"tidegate\"}") {
                Ok(1.0) => return Ok(prometheus),
                answer if Instant::now() > deadline => {
                    bail!(
                        "Prometheus has not scraped Tidegate: {answer:?}; it printed:\n{}",
                        prometheus._process.output()
                    )
                }
                _ => thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// The answer to a query that has one number for an answer.
    fn ask(&self, query: &str) -> Result<f64> {
        let curl = Invocation::new("curl").netns(&self.netns);
        let said = curl
            .words("--silent --show-error --fail --max-time 5 --get --data-urlencode")
            .arg(format!("query={query}"))
            .arg(format!("http://{PROMETHEUS}/api/v1/query"))
            .run()?;
        let answer: Value = serde_json::from_str(&said).with_context(|| format!("not JSON: {said}"))?;
        let value = answer["data"]["result"][0]["value"][1].as_str();
        value.and_then(|text| text.parse().ok()).with_context(|| format!("{query}: no single number in {said}"))
    }

    /// Waits until it has scraped what stands still at Tidegate, sample by sample.
    fn agrees(&self, metrics: &Metrics) -> Result<()> {
        let names = [
            "tidegate_port_received_frames_total",
            "tidegate_port_received_bytes_total",
            "tidegate_received_frames_total",
            "tidegate_completed_frames_total",
            "tidegate_class_sent_frames_total",
        ];
        let deadline = Instant::now() + LIMIT;
        loop {
            let differ = names.iter().find_map(|name| {
                let (said, own) = (self.ask(&format!("sum({name})")), metrics.sum(name, &[]));
                (!matches!(said, Ok(value) if value == own)).then(|| format!("{name}: {said:?} there, {own} here"))
            });
            match differ {
                None => return Ok(()),
                Some(words) if Instant::now() > deadline => bail!("Prometheus knows something else: {words}"),
                Some(_) => thread::sleep(Duration::from_millis(200)),
            }
        }
    }
}
