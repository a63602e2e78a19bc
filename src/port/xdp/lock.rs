//! One process per port.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;

use rustix::fs::{FlockOperation, flock};

use super::diagnosis::Error;

/// How often a file that was removed under our hands is made anew before we give up.
const ATTEMPTS: u32 = 100;

/// A port held by this process; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
    /// The port's state file: while it is there, the lock's file stays for the next to use it.
    state: PathBuf,
}

impl Lock {
    /// Takes the port whose state file is at `state`, or says who has it.
    pub(super) fn take(interface: &str, state: &Path) -> Result<Lock, Error> {
        let path = state.with_extension("lock");
        let unusable = |source| Error::StateFile { path: path.clone(), source };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(unusable)?;
        }
        for _ in 0..ATTEMPTS {
            let mut options = OpenOptions::new();
            let options = options.read(true).write(true).create(true).truncate(false).mode(0o644);
            let mut file = options.open(&path).map_err(unusable)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(held(interface, &mut file)),
                Err(error) => return Err(unusable(error.into())),
            }
            if is_at(&file, &path) {
                name_holder(&mut file).map_err(unusable)?;
                return Ok(Lock { file, path, state: state.to_owned() });
            }
            // Its last holder removed it between our opening and our locking.
        }
        Err(unusable(io::Error::other("it disappears as often as it is made")))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked, so nobody takes the file while it goes; who has opened it already looks again.
        if !self.state.exists() && is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
        // Said, because a child that is just being started may still have the file open too.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Waits until no other opening and no other undoing reads or writes what belongs to all wires of a network namespace, and
/// keeps them waiting until it is dropped. Those take milliseconds.
pub(super) fn turn(directory: &Path) -> io::Result<File> {
    // The directory itself: no file to leave behind.
    let file = File::open(directory)?;
    rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
    Ok(file)
}

/// Whether the path still leads to the open file.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn name_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", process::id())
}

/// The refusal, with as much as is known of who holds the port.
fn held(interface: &str, file: &mut File) -> Error {
    let mut text = String::new();
    // The holder may not have written its number yet.
    let holder = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse::<u32>().ok());
    let (holder, cure) = match holder {
        Some(pid) if pid == process::id() => {
            ("another wire of this process".to_owned(), "give every wire ports of its own".to_owned())
        }
        Some(pid) => {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            (format!("process {pid} ({})", name.trim()), format!("stop it first: kill {pid}"))
        }
        None => ("another process".to_owned(), "stop it first".to_owned()),
    };
    Error::InUse { name: interface.to_owned(), holder, cure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_one_holder_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("new").join("1-eth1.json");
        let lock = Lock::take("eth1", &state).unwrap();
        let error = Lock::take("eth1", &state).unwrap_err().to_string();
        assert!(error.contains("eth1 is in use by another wire of this process"), "{error}");
        drop(lock);
        assert!(!state.with_extension("lock").exists(), "nothing of the port is left, so neither is this");
        fs::write(&state, "").unwrap();
        drop(Lock::take("eth1", &state).unwrap());
        assert!(state.with_extension("lock").exists());
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Lock::take("eth1", &file.join("1-eth1.json")).unwrap_err().to_string();
        assert!(error.contains("1-eth1.lock") && error.contains("TIDEGATE_STATE_DIR"), "{error}");
    }

    #[test]
    fn a_file_removed_under_our_hands_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("1-eth1.json");
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let state = state.clone();
                std::thread::spawn(move || (0..500).filter(|_| Lock::take("eth1", &state).is_ok()).count())
            })
            .collect();
        let taken: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert!(taken > 0);
        drop(Lock::take("eth1", &state).unwrap());
        assert!(!state.with_extension("lock").exists());
    }
}
