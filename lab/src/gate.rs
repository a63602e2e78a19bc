//! Tidegate as a program in the box: started, watched, hurt and started again, always with the same policy and state.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::command::{Invocation, Process};
use crate::interrupt;
use crate::metrics::Metrics;
use crate::netns::{Lab, START_LIMIT};

/// How long Tidegate may take from a signal to its end. Of a killed process the kernel lets go late where much else runs.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// What it logs once its workers turn.
const FORWARDING: &str = "forwarding";
/// The metric by which one snapshot is told from the next.
const SEQUENCE: &str = "tidegate_snapshot_seq";
/// How often its counters are looked at while it is to take up the wire.
const LOOK: Duration = Duration::from_millis(20);

/// Where Tidegate listens for HTTP, in the box's own namespace; see [`api`].
pub const API: &str = "127.0.0.1:8088";

/// The section of a policy by which Tidegate listens at [`API`].
pub fn api() -> String {
    format!("[api]\nlisten = \"{API}\"\n")
}

/// Tidegate in the box of a lab; killed when dropped.
#[derive(Debug)]
pub struct Gate {
    binary: PathBuf,
    /// The box's namespace.
    netns: String,
    /// The box's ports.
    ports: Vec<&'static str>,
    /// The policy file, and what Tidegate remembers of its ports.
    folder: TempDir,
    process: Option<Process>,
}

impl Gate {
    /// Tidegate as it is at `binary`, with the text of its policy, not started yet.
    pub fn new(lab: &Lab, binary: &Path, policy: &str) -> Result<Gate> {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join(STATE))?;
        let gate =
            Gate { binary: binary.to_owned(), netns: lab.middle.clone(), ports: lab.ports(), folder, process: None };
        fs::write(gate.policy_file(), policy)?;
        Ok(gate)
    }

    /// Takes another build of Tidegate from the next start on.
    pub fn use_binary(&mut self, binary: &Path) {
        self.binary = binary.to_owned();
    }

    /// The build that the next start takes.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The folder in which Tidegate remembers how the ports were.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join(STATE)
    }

    /// Starts it and does not wait for anything.
    pub fn spawn(&mut self) -> Result<()> {
        let run = self.command("run -c").arg(self.policy_file().to_string_lossy());
        self.process = Some(run.spawn()?);
        Ok(())
    }

    /// Starts it and waits until it says that it forwards.
    pub fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.running()?.wait_for(FORWARDING, START_LIMIT)
    }

    /// A command of Tidegate's in the box: `detach`, `bypass on`.
    pub fn command(&self, words: &str) -> Invocation {
        let state = format!("TIDEGATE_STATE_DIR={}", self.state().display());
        let env = Invocation::new("env").netns(&self.netns).favoured().arg(state);
        env.arg(self.binary.to_string_lossy()).words(words)
    }

    /// The process; an error if it was never started.
    pub fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("Tidegate was never started")
    }

    fn running(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("Tidegate was never started")
    }

    /// Whether it was started and has not ended.
    pub fn is_running(&mut self) -> Result<bool> {
        self.process.as_mut().map_or(Ok(false), Process::is_running)
    }

    /// What this start of it has printed so far.
    pub fn log(&self) -> String {
        self.process.as_ref().map_or(String::new(), Process::output)
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.running()?.signal(signal)
    }

    /// Waits for its end after a signal.
    pub fn ended(&mut self) -> Result<ExitStatus> {
        self.running()?.ended(STOP_LIMIT)
    }

    /// Ends it by `signal` (SIGTERM or SIGINT) and gives all that it printed, its account last; an error if it ends badly.
    pub fn stop(&mut self, signal: Signal) -> Result<String> {
        self.signal(signal)?;
        let status = self.ended()?;
        let log = self.log();
        if !status.success() {
            bail!("Tidegate ended with {status} after {signal:?}; it printed:\n{log}");
        }
        Ok(log)
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.ended()?;
        Ok(())
    }

    /// Its counters in a snapshot that was taken after this call.
    pub fn metrics(&self) -> Result<Metrics> {
        let deadline = Instant::now() + START_LIMIT;
        let fetch = || {
            let metrics = Metrics::fetch(&self.netns, API)?;
            let seq = metrics.all(SEQUENCE, &[]).first().copied().context("no number of the snapshot")?;
            Ok::<_, anyhow::Error>((metrics, seq))
        };
        let (_, first) = fetch()?;
        loop {
            let (metrics, seq) = fetch()?;
            // The next one may have been on its way.
            if seq >= first + 2.0 {
                return Ok(metrics);
            }
            interrupt::check()?;
            ensure!(Instant::now() < deadline, "{SEQUENCE} stands still at {seq}");
            thread::sleep(LOOK);
        }
    }

    /// The frames that the kernel has handed to Tidegate so far, port by port: veth counts them itself, but only in native
    /// mode, so in generic mode they are zero.
    pub fn redirected(&self) -> Result<Vec<u64>> {
        let count = |port: &&str| {
            let said = Invocation::new("ethtool").netns(&self.netns).favoured().words(format!("-S {port}")).run()?;
            let queues = said.lines().filter_map(|line| line.trim().split_once("_xdp_redirect: "));
            Ok(queues.filter_map(|(_, count)| count.parse::<u64>().ok()).sum())
        };
        self.ports.iter().map(count).collect()
    }

    /// Waits until Tidegate itself, not the kernel below it, carries traffic: until `traffic` passes and the kernel hands
    /// frames of it to Tidegate at every port.
    pub fn await_forwarding(&mut self, mut traffic: impl FnMut() -> Result<()>) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            interrupt::check()?;
            // A port that is not there yet has no counters.
            let moved = self.redirected().and_then(|before| {
                traffic()?;
                let after = self.redirected()?;
                let stands_still = before.iter().zip(&after).any(|(before, after)| after <= before);
                ensure!(!stands_still, "not every port hands frames to it: {before:?}, then {after:?}");
                Ok(())
            });
            let Err(error) = moved else { return Ok(()) };
            if !self.is_running()? {
                bail!("Tidegate ended by itself; it printed:\n{}", self.log());
            }
            if Instant::now() > deadline {
                return Err(error.context(format!("Tidegate does not carry traffic; it printed:\n{}", self.log())));
            }
            thread::sleep(LOOK);
        }
    }

    /// An error if the kernel hands frames to Tidegate although it is bypassed; `traffic` must pass.
    pub fn confirm_bypass(&self, traffic: impl FnOnce() -> Result<()>) -> Result<()> {
        let before = self.redirected()?;
        traffic()?;
        let after = self.redirected()?;
        ensure!(before == after, "the bypass is on, but frames go to Tidegate: {before:?}, then {after:?}");
        Ok(())
    }

    fn policy_file(&self) -> PathBuf {
        self.folder.path().join("policy.toml")
    }
}

/// The name of the folder of state inside the gate's own.
const STATE: &str = "state";
