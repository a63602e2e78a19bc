//! What was set before the first change, and the way back.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{env, fmt, fs, io};

use serde::{Deserialize, Serialize};

use super::diagnosis::Error;
use super::link::Link;
use super::program::Attached;

/// Where state files are, unless the variable `TIDEGATE_STATE_DIR` names another place.
const DIRECTORY: &str = "/run/tidegate";

/// The settings of an interface before the first run, as they are written down.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    interface: String,
    /// Tells the interface from a later one with the same name.
    index: u32,
    /// Tells the network namespace from a later one with the same inode, which the kernel soon gives again.
    namespace_cookie: u64,
    promiscuous: bool,
    /// The offloads that were asked for and have been switched off.
    features: BTreeMap<String, bool>,
}

impl State {
    /// Whether this is about `link`, and not about an interface that is gone and had its name.
    fn is_of(&self, link: &Link) -> bool {
        self.index == link.index() && self.namespace_cookie == link.namespace_cookie()
    }
}

/// An interface's state file, for as long as it isn't sure that the interface will be used.
///
/// If this opening made the file, dropping it undoes what was done since; [`Recorded::keep`] prevents that.
pub(super) struct Recorded {
    interface: Option<String>,
}

impl Recorded {
    /// Makes sure that the settings before the first change are on disk. Those of an earlier run, not yet undone, stay.
    pub(super) fn new(link: &Link) -> Result<Recorded, Error> {
        let path = path_of(link.name())?;
        if read(&path)?.is_some_and(|state| state.is_of(link)) {
            return Ok(Recorded { interface: None });
        }
        let refused = |error| Error::refused("reading the settings", link.name(), error);
        let state = State {
            interface: link.name().to_owned(),
            index: link.index(),
            namespace_cookie: link.namespace_cookie(),
            promiscuous: link.is_promiscuous().map_err(refused)?,
            features: link.altering_features().map_err(refused)?,
        };
        write(&path, &state).map_err(|source| Error::StateFile { path, source })?;
        Ok(Recorded { interface: Some(link.name().to_owned()) })
    }

    /// Leaves everything as it is now, to be undone by [`detach`].
    pub(super) fn keep(mut self) {
        self.interface = None;
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if let Some(interface) = self.interface.take()
            && let Err(error) = undo(&interface)
        {
            tracing::warn!("{interface} is not as it was before: {error}");
        }
    }
}

/// What was undone on one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undone {
    /// The interface.
    pub interface: String,
    /// The interface doesn't exist any more, so only its state file was removed.
    pub gone: bool,
    /// Our XDP program was removed.
    pub program: bool,
    /// Promiscuous mode was switched off.
    pub promiscuous: bool,
    /// The offloads that were switched on again.
    pub features: Vec<String>,
}

impl fmt::Display for Undone {
    /// One line: `eth1: XDP program removed, promiscuous mode off, offloads on again: rx-gro`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut done = Vec::new();
        if self.gone {
            done.push("the interface is gone, its state file removed".to_owned());
        }
        if self.program {
            done.push("XDP program removed".to_owned());
        }
        if self.promiscuous {
            done.push("promiscuous mode off".to_owned());
        }
        if !self.features.is_empty() {
            done.push(format!("offloads on again: {}", self.features.join(", ")));
        }
        if done.is_empty() {
            done.push("nothing to undo".to_owned());
        }
        write!(f, "{}: {}", self.interface, done.join(", "))
    }
}

/// Undoes what [`Wire::open`](super::Wire::open) changed on these interfaces, or on all in this network namespace if
/// none is named. Doing it twice is harmless, and a program that isn't ours stays.
///
/// # Errors
///
/// If an interface doesn't exist and never was a port; if its state file is damaged, which is then left as it is; or if
/// the kernel refuses. Interfaces before the one in question are done.
pub fn detach(interfaces: &[String]) -> Result<Vec<Undone>, Error> {
    let recorded = if interfaces.is_empty() { recorded()? } else { Vec::new() };
    interfaces.iter().chain(&recorded).map(|interface| undo(interface)).collect()
}

fn undo(interface: &str) -> Result<Undone, Error> {
    let found = Link::find(interface);
    let interface = found.as_ref().map_or(interface, Link::name).to_owned();
    let path = path_of(&interface)?;
    let state = read(&path)?;
    let link = match found {
        Err(Error::NoInterface { .. }) if state.is_some() => None,
        found => Some(found?),
    };
    let mut undone = Undone { interface, ..Undone::default() };
    undone.gone = state.as_ref().is_some_and(|state| !link.as_ref().is_some_and(|link| state.is_of(link)));
    if let Some(link) = &link {
        // The program first: while it is attached, veth insists on some offloads.
        match Attached::find(link) {
            Ok(Some(attached)) => {
                attached.detach(link)?;
                undone.program = true;
            }
            Ok(None) | Err(Error::ForeignProgram { .. }) => {}
            Err(error) => return Err(error),
        }
        if let Some(state) = state.as_ref().filter(|_| !undone.gone) {
            restore(link, state, &mut undone)?;
        }
    }
    if state.is_some() {
        fs::remove_file(&path).map_err(|source| Error::StateFile { path, source })?;
    }
    Ok(undone)
}

fn restore(link: &Link, state: &State, undone: &mut Undone) -> Result<(), Error> {
    let refused = |error| Error::refused("restoring the settings", link.name(), error);
    let on = link.altering_features().map_err(refused)?;
    undone.features = state.features.keys().filter(|name| !on.contains_key(*name)).cloned().collect();
    link.set_features(&state.features).map_err(refused)?;
    undone.promiscuous = !state.promiscuous && link.is_promiscuous().map_err(refused)?;
    link.set_promiscuous(state.promiscuous).map_err(refused)
}

/// The interfaces of this network namespace that have a state file.
pub(super) fn recorded() -> Result<Vec<String>, Error> {
    let (directory, prefix) = (directory(), format!("{}-", namespace()?));
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::StateFile { path: directory, source }),
    };
    let mut interfaces: Vec<String> = entries
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix(&prefix)?.strip_suffix(".json")?.to_owned()))
        .collect();
    interfaces.sort_unstable();
    Ok(interfaces)
}

fn directory() -> PathBuf {
    env::var_os("TIDEGATE_STATE_DIR").map_or_else(|| PathBuf::from(DIRECTORY), PathBuf::from)
}

/// The number of this thread's network namespace, so that equal names in two namespaces don't share a file.
fn namespace() -> Result<u64, Error> {
    let path = PathBuf::from("/proc/thread-self/ns/net");
    fs::metadata(&path).map(|namespace| namespace.ino()).map_err(|source| Error::StateFile { path, source })
}

fn path_of(interface: &str) -> Result<PathBuf, Error> {
    Ok(directory().join(format!("{}-{interface}.json", namespace()?)))
}

fn read(path: &Path) -> Result<Option<State>, Error> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::DamagedState { path: path.to_owned(), reason: error.to_string() }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::StateFile { path: path.to_owned(), source }),
    }
}

/// Writes the file whole or not at all.
fn write(path: &Path, state: &State) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let new = path.with_extension("new");
    let mut file = fs::File::create(&new)?;
    file.write_all(&serde_json::to_vec_pretty(state)?)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_undone_is_told_in_one_line() {
        let mut undone = Undone { interface: "eth1".to_owned(), ..Undone::default() };
        assert_eq!(undone.to_string(), "eth1: nothing to undo");
        undone.program = true;
        undone.features = vec!["rx-gro".to_owned(), "rx-lro".to_owned()];
        assert_eq!(undone.to_string(), "eth1: XDP program removed, offloads on again: rx-gro, rx-lro");
    }

    #[test]
    fn a_damaged_state_file_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1-eth1.json");
        for damage in ["", "{", "{\"interface\": \"eth1\"}"] {
            fs::write(&path, damage).unwrap();
            let error = read(&path).unwrap_err();
            assert!(matches!(error, Error::DamagedState { .. }), "{error}");
            assert!(error.to_string().contains("delete the file"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), damage);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1-eth1.json");
        assert!(read(&path).unwrap().is_none());
        let features = BTreeMap::from([("rx-gro".to_owned(), true)]);
        let state = State { interface: "eth1".to_owned(), index: 7, namespace_cookie: 1, promiscuous: false, features };
        write(&path, &state).unwrap();
        let read = read(&path).unwrap().unwrap();
        assert_eq!((read.index, read.promiscuous, read.features["rx-gro"]), (7, false, true));
    }
}
