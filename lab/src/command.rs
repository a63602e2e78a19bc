//! Programs: how one is started (namespace, core, priority), waited for and stopped, and what is said when it fails.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::interrupt;

/// How often a waiting caller looks again.
const LOOK: Duration = Duration::from_millis(10);
/// The same after a signal: what follows a program's end may be timed.
const LOOK_AFTER_SIGNAL: Duration = Duration::from_millis(1);

/// A program with its arguments and the place where it is to run.
#[derive(Clone, Debug)]
pub struct Invocation {
    prefix: Vec<String>,
    argv: Vec<String>,
}

impl Invocation {
    /// The program `program`, found by `PATH` or by its path, without arguments.
    pub fn new(program: impl Into<String>) -> Invocation {
        Invocation { prefix: Vec::new(), argv: vec![program.into()] }
    }

    /// Runs it in the network namespace `netns`.
    pub fn netns(self, netns: &str) -> Invocation {
        self.through(&["ip", "netns", "exec", netns])
    }

    /// Runs it on core `core` only; on a machine with fewer cores, on the last one.
    pub fn core(self, core: usize) -> Invocation {
        let last = thread::available_parallelism().map_or(0, |cores| cores.get() - 1);
        self.through(&["taskset", "-c", &core.min(last).to_string()])
    }

    /// Runs it before every ordinary program: for instruments, which need little time but need it at once.
    pub fn realtime(self) -> Invocation {
        self.through(&["chrt", "--fifo", "10"])
    }

    /// Runs it with the greatest share of its core, so that what else the machine does disturbs less.
    pub fn favoured(self) -> Invocation {
        self.through(&["nice", "-n", "-20"])
    }

    /// Runs it only when nothing else wants the core.
    pub fn when_idle(self) -> Invocation {
        self.through(&["chrt", "--idle", "0"])
    }

    /// Adds arguments, split at white space: for fixed text and for values without blanks.
    pub fn words(mut self, words: impl AsRef<str>) -> Invocation {
        self.argv.extend(words.as_ref().split_whitespace().map(str::to_owned));
        self
    }

    /// Adds one argument as it is.
    pub fn arg(mut self, arg: impl Into<String>) -> Invocation {
        self.argv.push(arg.into());
        self
    }

    /// Runs it to its end and gives what it printed; a failure names the command, its status and its error output.
    pub fn run(&self) -> Result<String> {
        let output = self.command().stdin(Stdio::null()).output().with_context(|| format!("cannot start `{self}`"))?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(failure(self, output.status, &stdout, &String::from_utf8_lossy(&output.stderr)));
        }
        Ok(stdout)
    }

    /// Starts it; its standard input stays open until [`Process::finish`] or drop.
    pub fn spawn(&self) -> Result<Process> {
        let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?)
            // Ctrl-C on the terminal is for the lab, which then stops its programs in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start `{self}`"))?;
        Ok(Process { what: self.clone(), child, stdout, stderr })
    }

    fn through(mut self, prefix: &[&str]) -> Invocation {
        self.prefix.extend(prefix.iter().map(|&word| word.to_owned()));
        self
    }

    fn command(&self) -> Command {
        let mut words = self.prefix.iter().chain(&self.argv);
        let mut command = Command::new(words.next().expect("an invocation has a program"));
        command.args(words);
        command
    }
}

impl fmt::Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.prefix.iter().chain(&self.argv).map(String::as_str).collect();
        f.write_str(&words.join(" "))
    }
}

/// Runs a fixed command line, split at white space, to its end; see [`Invocation::run`].
pub fn run(line: impl AsRef<str>) -> Result<String> {
    let (program, rest) = line.as_ref().split_once(' ').unwrap_or((line.as_ref(), ""));
    Invocation::new(program).words(rest).run()
}

/// A started program, killed by its process id on drop.
#[derive(Debug)]
pub struct Process {
    what: Invocation,
    child: Child,
    stdout: File,
    stderr: File,
}

impl Process {
    /// Waits until its output (standard or error) contains `text`; an error if it ends before or `limit` passes.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.child.try_wait()?;
            if self.output().contains(text) {
                return Ok(());
            }
            if let Some(status) = ended {
                return Err(self.failure(status));
            }
            self.pause(deadline, &format!("for the words {text:?} from"))?;
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// What it has printed so far, standard output first, then error output.
    pub fn output(&self) -> String {
        read(&self.stdout) + &read(&self.stderr)
    }

    /// How long its threads, together, have been ready to run but kept from a core by other programs.
    pub fn kept_waiting(&self) -> Result<Duration> {
        self.schedule(1)
    }

    /// How long its threads, together, have run. Threads that have ended are not in the sum.
    pub fn cpu_time(&self) -> Result<Duration> {
        self.schedule(0)
    }

    /// The number of its open file descriptors.
    pub fn descriptors(&self) -> Result<usize> {
        let folder = format!("/proc/{}/fd", self.child.id());
        Ok(fs::read_dir(&folder).with_context(|| format!("cannot list {folder}"))?.count())
    }

    /// One column of its threads' `schedstat`, in nanoseconds: 0 on a core, 1 ready but without one
    /// (Documentation/scheduler/sched-stats.rst).
    fn schedule(&self, column: usize) -> Result<Duration> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text =
                fs::read_to_string(task?.path().join("schedstat")).context("cannot read a thread's schedstat")?;
            nanos += text.split_whitespace().nth(column).and_then(|word| word.parse().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Waits for its own end, at most `limit`, and gives its standard output; an error if it failed.
    pub fn wait(&mut self, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                if !status.success() {
                    return Err(self.failure(status));
                }
                return Ok(read(&self.stdout));
            }
            self.pause(deadline, "for the end of")?;
        }
    }

    /// Closes its standard input, which tells the lab's own helpers to report and end.
    pub fn close_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Closes its standard input, then waits like [`Process::wait`].
    pub fn finish(&mut self, limit: Duration) -> Result<String> {
        self.close_input();
        self.wait(limit)
    }

    /// Sends it `signal`; an error if it has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        // A child that has not been waited for keeps its id, so the signal can't reach a stranger.
        if let Some(status) = self.child.try_wait()? {
            return Err(self.failure(status).context(format!("{signal:?} is too late")));
        }
        kill_process(Pid::from_child(&self.child), signal).context("cannot signal a child")
    }

    /// Waits for its end after a signal, at most `limit`, and gives how it ended.
    pub fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        // No look at Ctrl-C here: after it, programs are stopped in order.
        while self.is_running()? {
            if Instant::now() > deadline {
                bail!("`{}` did not end within {limit:?} of a signal; it printed:\n{}", self.what, self.output());
            }
            thread::sleep(LOOK_AFTER_SIGNAL);
        }
        Ok(self.child.wait()?)
    }

    /// Sends SIGINT, waits for the end, at most `limit`, and gives all it printed; an error if it ends with a failure.
    pub fn stop(&mut self, limit: Duration) -> Result<String> {
        if self.is_running()? {
            self.signal(Signal::INT)?;
        }
        let status = self.ended(limit)?;
        if status.success() { Ok(self.output()) } else { Err(self.failure(status)) }
    }

    fn pause(&self, deadline: Instant, what: &str) -> Result<()> {
        interrupt::check()?;
        if Instant::now() > deadline {
            bail!("waited too long {what} `{}`; it printed:\n{}", self.what, self.output());
        }
        thread::sleep(LOOK);
        Ok(())
    }

    fn failure(&self, status: ExitStatus) -> anyhow::Error {
        failure(&self.what, status, &read(&self.stdout), &read(&self.stderr))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The whole of a file that another process is writing, read at explicit places: the descriptor shares its offset with the writer.
fn read(file: &File) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1024];
    while let Ok(length @ 1..) = file.read_at(&mut chunk, bytes.len() as u64) {
        bytes.extend_from_slice(&chunk[..length]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn failure(what: &Invocation, status: ExitStatus, stdout: &str, stderr: &str) -> anyhow::Error {
    let said =
        [stderr.trim(), stdout.trim()].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n");
    anyhow!("`{what}` failed ({status}): {}", if said.is_empty() { "it said nothing" } else { &said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_words() {
        let error = Invocation::new("ls").arg("/no/such place").run().unwrap_err().to_string();
        assert!(error.contains("`ls /no/such place` failed"), "{error}");
        assert!(error.contains("No such file"), "{error}");
        let error = run("no-such-program-anywhere x").unwrap_err().to_string();
        assert!(error.contains("cannot start `no-such-program-anywhere x`"), "{error}");
    }

    #[test]
    fn a_helper_ends_when_its_input_closes() {
        let mut cat = Invocation::new("cat").spawn().unwrap();
        assert!(cat.is_running().unwrap());
        assert_eq!(cat.finish(Duration::from_secs(5)).unwrap(), "");
    }

    #[test]
    fn waiting_ends_with_the_program() {
        let mut echo = Invocation::new("echo").arg("ready steady").spawn().unwrap();
        echo.wait_for("steady", Duration::from_secs(5)).unwrap();
        let error = echo.wait_for("go", Duration::from_secs(5)).unwrap_err().to_string();
        assert!(error.contains("`echo ready steady`"), "{error}");
    }

    #[test]
    fn sigint_stops_it() {
        let mut sleep = Invocation::new("sleep").arg("100").spawn().unwrap();
        let error = sleep.stop(Duration::from_secs(5)).unwrap_err().to_string();
        assert!(error.contains("signal: 2"), "{error}");
    }
}
