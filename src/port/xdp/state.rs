//! What was set before the first change, and the way back.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{env, fmt, fs, io};

use serde::{Deserialize, Serialize};

use super::diagnosis::Error;
use super::firewall::Firewalls;
use super::link::{Channels, Link};
use super::lock::{self, Lock};
use super::program::Attached;
use super::quiet::Voice;
use super::rtnl::Rtnl;
use super::{bridge, link};

/// Where state files are, unless the variable `TIDEGATE_STATE_DIR` names another place.
const DIRECTORY: &str = "/run/tidegate";

/// The settings of an interface before the first run, as they are written down.
///
/// What an earlier version didn't change it didn't write down either: such a field is missing, and stays as it is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    interface: String,
    /// Tells the interface from a later one with the same name.
    index: u32,
    /// Tells the network namespace from a later one with the same inode, which the kernel soon gives again.
    namespace_cookie: u64,
    promiscuous: bool,
    /// The offloads that were asked for and have been switched off.
    features: BTreeMap<String, bool>,
    /// The bridge that the interface was put into; it was in none before.
    #[serde(default)]
    bridge: Option<String>,
    /// What it said of its own accord.
    #[serde(default)]
    voice: Option<Voice>,
    /// The channels that it had, if they were too many.
    #[serde(default)]
    channels: Option<Channels>,
    /// It was brought down to carry the loss of the other port's link.
    #[serde(default)]
    cut: bool,
    /// The firewalls on bridges before the first wire in the network namespace; the last state file there brings them back.
    #[serde(default)]
    firewalls: Firewalls,
}

impl State {
    /// The state on disk, if it is about `link` and not about an interface that is gone and had its name.
    pub(super) fn of(link: &Link) -> Result<Option<State>, Error> {
        Ok(read(&path_of(link.name())?)?.filter(|state| state.is_of(link)))
    }

    /// The bridge that an earlier run put the interface into.
    pub(super) fn bridge(&self) -> Option<&str> {
        self.bridge.as_deref()
    }

    /// Whether the interface is down because we brought it down.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    fn is_of(&self, link: &Link) -> bool {
        self.index == link.index() && self.namespace_cookie == link.namespace_cookie()
    }

    /// Whether the file is about this network namespace.
    fn is_here(&self) -> bool {
        link::namespace_cookie().is_ok_and(|cookie| cookie == self.namespace_cookie)
    }

    fn read_from(link: &Link) -> io::Result<State> {
        Ok(State {
            interface: link.name().to_owned(),
            index: link.index(),
            namespace_cookie: link.namespace_cookie(),
            promiscuous: link.is_promiscuous()?,
            features: link.altering_features()?,
            bridge: None,
            voice: None,
            channels: None,
            cut: false,
            firewalls: Firewalls::default(),
        })
    }

    /// Adds the firewalls that aren't written down yet: as another wire found them, which has switched them off since.
    fn complete_firewalls(&mut self, link: &Link) -> Result<(), Error> {
        let now = Firewalls::now();
        if self.firewalls.cover(&now) {
            return Ok(());
        }
        for other in others(link.name())? {
            self.firewalls.complete(other?.firewalls);
        }
        self.firewalls.complete(now);
        Ok(())
    }

    /// Adds what else is about to be changed and isn't written down yet.
    fn complete(&mut self, link: &Link, rtnl: &mut Rtnl, bridge: &str) -> io::Result<()> {
        self.bridge.get_or_insert_with(|| bridge.to_owned());
        if self.voice.is_none() {
            let gone = || io::Error::from_raw_os_error(libc::ENODEV);
            self.voice = Some(Voice::of(&rtnl.link(link.index())?.ok_or_else(gone)?)?);
        }
        if self.channels.is_none() {
            self.channels = link.channels()?.filter(|channels| channels.reduced().is_some());
        }
        Ok(())
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
    pub(super) fn new(link: &Link, rtnl: &mut Rtnl, bridge: &str) -> Result<Recorded, Error> {
        let path = path_of(link.name())?;
        let refused = |error| Error::refused("reading the settings", link.name(), error);
        let earlier = State::of(link)?;
        let mut state = match &earlier {
            Some(state) => state.clone(),
            None => State::read_from(link).map_err(refused)?,
        };
        state.complete(link, rtnl, bridge).map_err(refused)?;
        let _turn = turn()?;
        state.complete_firewalls(link)?;
        if earlier.as_ref() != Some(&state) {
            write(&path, &state).map_err(|source| Error::StateFile { path, source })?;
        }
        Ok(Recorded { interface: earlier.is_none().then(|| link.name().to_owned()) })
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

/// Writes down that an interface is about to be brought down by us, or that it has been brought up again.
pub(super) fn record_cut(link: &Link, cut: bool) -> Result<(), Error> {
    let path = path_of(link.name())?;
    let Some(state) = State::of(link)? else {
        return Err(Error::StateFile { path, source: ErrorKind::NotFound.into() });
    };
    if state.cut == cut {
        return Ok(());
    }
    write(&path, &State { cut, ..state }).map_err(|source| Error::StateFile { path, source })
}

/// Takes a port for this process, or says who has it.
pub(super) fn lock(interface: &str) -> Result<Lock, Error> {
    Lock::take(interface, &path_of(interface)?)
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
    /// The kernel bridge that the interface was taken out of.
    pub bridge: Option<String>,
    /// ARP and IPv6 are as they were.
    pub voice: bool,
    /// Promiscuous mode was switched off.
    pub promiscuous: bool,
    /// The offloads that were switched on again.
    pub features: Vec<String>,
    /// The receive channels that the interface has again.
    pub channels: Option<u32>,
    /// The interface was brought up after it had been brought down to carry a loss of link.
    pub up: bool,
    /// The firewalls on bridges that were switched on again, with the last port in the network namespace.
    pub firewalls: Vec<String>,
}

impl fmt::Display for Undone {
    /// One line: `eth1: XDP program removed, promiscuous mode off, offloads on again: rx-gro`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut done = Vec::new();
        let mut say = |said: bool, what: &str| done.extend(said.then(|| what.to_owned()));
        say(self.gone, "the interface is gone, its state file removed");
        say(self.program, "XDP program removed");
        say(self.bridge.is_some(), &format!("out of the bridge {}", self.bridge.as_deref().unwrap_or_default()));
        say(self.voice, "ARP and IPv6 as before");
        say(self.promiscuous, "promiscuous mode off");
        say(!self.features.is_empty(), &format!("offloads on again: {}", self.features.join(", ")));
        say(self.channels.is_some(), &format!("{} receive channels again", self.channels.unwrap_or_default()));
        say(self.up, "up again");
        say(!self.firewalls.is_empty(), &format!("firewall on bridges again: {}", self.firewalls.join(", ")));
        if done.is_empty() {
            done.push("nothing to undo".to_owned());
        }
        write!(f, "{}: {}", self.interface, done.join(", "))
    }
}

/// Undoes what [`Wire::open`](super::Wire::open) changed on these interfaces, or on all in this network namespace if
/// none is named. Doing it twice is harmless, as is doing it after an opening that was killed half-way; and a program that
/// isn't ours stays.
///
/// # Errors
///
/// If a process runs a bridge over one of them, before anything is undone; if an interface doesn't exist and never was a
/// port; if its state file is damaged, which is then left as it is; or if the kernel refuses. Interfaces before the one in
/// question are done.
pub fn detach(interfaces: &[String]) -> Result<Vec<Undone>, Error> {
    let interfaces = if interfaces.is_empty() { recorded()? } else { interfaces.to_vec() };
    let named = |interface: &String| match Link::find(interface) {
        Ok(link) => Ok(link.name().to_owned()),
        // Gone, but it left its state file.
        Err(Error::NoInterface { .. }) if path_of(interface)?.exists() => Ok(interface.clone()),
        Err(error) => Err(error),
    };
    // By their own names, once each: an interface may be named twice, or by an alternative name.
    let interfaces = interfaces.iter().map(named).collect::<Result<BTreeSet<String>, Error>>()?;
    let _locks = interfaces.iter().map(|interface| lock(interface)).collect::<Result<Vec<Lock>, Error>>()?;
    interfaces.iter().map(|interface| undo(interface)).collect()
}

fn undo(interface: &str) -> Result<Undone, Error> {
    let path = path_of(interface)?;
    let state = read(&path)?;
    let link = match Link::find(interface) {
        Err(Error::NoInterface { .. }) if state.is_some() => None,
        found => Some(found?),
    };
    let mut undone = Undone { interface: interface.to_owned(), ..Undone::default() };
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
    if let Some(bridge) = state.as_ref().filter(|state| state.is_here()).and_then(State::bridge) {
        let refused = |error| Error::refused("removing the bridge", bridge, error);
        bridge::remove_if_empty(&mut Rtnl::open().map_err(refused)?, bridge)?;
    }
    // Until the file is gone: another wire either finds it, or the firewalls as they were.
    let _turn = state.as_ref().map(|_| turn()).transpose()?;
    if let Some(state) = state.as_ref().filter(|state| state.is_here())
        && others(interface)?.next().is_none()
    {
        let refused = |error| Error::refused("restoring the firewall on bridges", interface, error);
        undone.firewalls = state.firewalls.restore().map_err(refused)?;
    }
    if state.is_some() {
        fs::remove_file(&path).map_err(|source| Error::StateFile { path, source })?;
    }
    Ok(undone)
}

fn restore(link: &Link, state: &State, undone: &mut Undone) -> Result<(), Error> {
    let refused = |error| Error::refused("restoring the settings", link.name(), error);
    let mut rtnl = Rtnl::open().map_err(refused)?;
    if let Some(bridge) = &state.bridge {
        undone.bridge = bridge::release(&mut rtnl, bridge, link)?.then(|| bridge.clone());
    }
    let on = link.altering_features().map_err(refused)?;
    undone.features = state.features.keys().filter(|name| !on.contains_key(*name)).cloned().collect();
    link.set_features(&state.features).map_err(refused)?;
    undone.promiscuous = !state.promiscuous && link.is_promiscuous().map_err(refused)?;
    link.set_promiscuous(state.promiscuous).map_err(refused)?;
    if let Some(channels) = &state.channels {
        undone.channels = link.set_channels(channels).map_err(refused)?.then(|| channels.receiving());
    }
    if state.cut {
        undone.up = link.set_up(true).map_err(refused)?;
    }
    // Last, so that what IPv6 does when it comes back finds everything as it was.
    if let (Some(voice), Some(facts)) = (&state.voice, rtnl.link(link.index()).map_err(refused)?) {
        undone.voice = voice.give(&mut rtnl, &facts).map_err(refused)?;
    }
    Ok(())
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

/// What is written down of the other ports in this network namespace; a damaged file is an error among them.
fn others(interface: &str) -> Result<impl Iterator<Item = Result<State, Error>>, Error> {
    let others = recorded()?.into_iter().filter(move |other| other != interface);
    Ok(others.filter_map(|other| {
        let state = path_of(&other).and_then(|path| read(&path));
        state.map(|state| state.filter(State::is_here)).transpose()
    }))
}

/// This process's turn with what belongs to all wires of a network namespace.
fn turn() -> Result<fs::File, Error> {
    let path = directory();
    lock::turn(&path).map_err(|source| Error::StateFile { path, source })
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

/// Writes the file whole or not at all, so that it is there after a loss of power too.
fn write(path: &Path, state: &State) -> io::Result<()> {
    let directory = path.parent().expect("a state file is in a directory");
    fs::create_dir_all(directory)?;
    let new = path.with_extension("new");
    let mut file = fs::File::create(&new)?;
    file.write_all(&serde_json::to_vec_pretty(state)?)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    fs::File::open(directory)?.sync_all()
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
        let state = State {
            interface: "eth1".to_owned(),
            index: 7,
            namespace_cookie: 1,
            promiscuous: false,
            features,
            bridge: Some("tidegate7".to_owned()),
            voice: None,
            channels: Some(Channels { rx: 16, tx: 16, other: 0, combined: 0 }),
            cut: true,
            firewalls: serde_json::from_str(r#"{"bridge-nf-call-iptables":true}"#).unwrap(),
        };
        write(&path, &state).unwrap();
        assert_eq!(read(&path).unwrap(), Some(state));
    }

    #[test]
    fn what_an_earlier_version_wrote_is_understood() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1-eth1.json");
        let earlier =
            r#"{"interface":"eth1","index":7,"namespace_cookie":1,"promiscuous":true,"features":{"rx-gro":true}}"#;
        fs::write(&path, earlier).unwrap();
        let state = read(&path).unwrap().unwrap();
        assert!(state.promiscuous && state.bridge.is_none() && state.voice.is_none() && !state.cut);
        assert_eq!(state.firewalls, Firewalls::default());
    }
}
