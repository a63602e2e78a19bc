//! Tidegate as a program in the box: started, watched, hurt and started again, always with the same policy and state.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::command::{Invocation, Process};
use crate::interrupt;
use crate::metrics::Metrics;
use crate::netns::{Lab, START_LIMIT};

/// How long Tidegate may take from a signal to its end.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// What it logs once its workers turn.
const FORWARDING: &str = "forwarding";
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
    /// The policy file, and what Tidegate remembers of its ports.
    folder: TempDir,
    process: Option<Process>,
}

impl Gate {
    /// Tidegate as it is at `binary`, with the text of its policy, not started yet.
    pub fn new(lab: &Lab, binary: &Path, policy: &str) -> Result<Gate> {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join(STATE))?;
        let gate = Gate { binary: binary.to_owned(), netns: lab.middle.clone(), folder, process: None };
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

    /// Its counters now.
    pub fn metrics(&self) -> Result<Metrics> {
        Metrics::fetch(&self.netns, API)
    }

    /// Waits until Tidegate itself, not the kernel below it, carries traffic: until its own counters of received frames move
    /// at every port while `traffic` is made again and again.
    pub fn await_forwarding(&mut self, mut traffic: impl FnMut() -> Result<()>) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        let mut before: Option<Vec<f64>> = None;
        loop {
            interrupt::check()?;
            let look = traffic().and_then(|()| self.metrics());
            let received = look.map(|metrics| metrics.all("tidegate_port_received_frames_total", &[]));
            let moved =
                |now: &[f64], then: &[f64]| now.len() >= 2 && now.iter().zip(then).all(|(now, then)| now > then);
            if let (Ok(now), Some(then)) = (&received, &before)
                && moved(now, then)
            {
                return Ok(());
            }
            if !self.is_running()? {
                bail!("Tidegate ended by itself; it printed:\n{}", self.log());
            }
            if Instant::now() > deadline {
                let stands_still =
                    || anyhow!("its counters of received frames stand still; it printed:\n{}", self.log());
                return Err(received.err().unwrap_or_else(stands_still).context("Tidegate does not carry traffic"));
            }
            // The first look at its counters is what later ones are compared with.
            before = before.or(received.ok());
            thread::sleep(LOOK);
        }
    }

    fn policy_file(&self) -> PathBuf {
        self.folder.path().join("policy.toml")
    }
}

/// The name of the folder of state inside the gate's own.
const STATE: &str = "state";
