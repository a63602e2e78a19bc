//! An interface: its facts, and the settings that a port needs.

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::os::fd::{AsRawFd, OwnedFd};
use std::{fs, io, mem};

use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};
use serde::{Deserialize, Serialize};

use super::diagnosis::Error;
use super::umem::Options;

/// The Ethernet header and two VLAN tags, which an MTU doesn't count.
const LINK_HEADER: u32 = 14 + 2 * 4;

// Commands of SIOCETHTOOL, and the string set that names the features (linux/ethtool.h).
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETHTOOL_SCHANNELS: u32 = 0x3d;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETHTOOL_SFEATURES: u32 = 0x3b;
const ETH_SS_FEATURES: u32 = 4;
const ETH_GSTRING_LEN: usize = 32;

/// Words of struct ethtool_drvinfo, in which the driver's name follows the command.
const DRVINFO_WORDS: usize = 196 / 4;
const DRIVER_NAME_LEN: usize = 32;

/// The receive queues that a port is left with where its channels can be reduced: more than cores to read them only cost
/// memory.
const MAX_QUEUES: u32 = 8;

/// The socket option that tells namespaces apart (asm-generic/socket.h).
const SO_NETNS_COOKIE: libc::c_int = 71;

/// Whether a feature of this name changes frames on their way to or from the port.
///
/// Receive offloads glue frames together, segmentation lets a local sender hand over frames that no wire would carry, and
/// VLAN offloads move tags out of the bytes. The names are those of `ethtool -k`.
fn alters_frames(feature: &str) -> bool {
    let named = [
        "rx-gro",
        "rx-gro-hw",
        "rx-gro-list",
        "rx-udp-gro-forwarding",
        "rx-lro",
        "rx-vlan-hw-parse",
        "rx-vlan-stag-hw-parse",
        "rx-vlan-filter",
        "rx-vlan-stag-filter",
        "tx-vlan-hw-insert",
        "tx-vlan-stag-hw-insert",
        "tx-generic-segmentation",
    ];
    named.contains(&feature) || (feature.starts_with("tx-") && feature.ends_with("-segmentation"))
}

/// How an interface spreads its frames, as `ethtool -l` shows it; a combined channel receives and transmits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Channels {
    pub(super) rx: u32,
    pub(super) tx: u32,
    pub(super) other: u32,
    pub(super) combined: u32,
}

impl Channels {
    /// The channels that receive.
    pub(super) fn receiving(&self) -> u32 {
        self.rx + self.combined
    }

    /// As many of these as a port is left with, if these are too many.
    pub(super) fn reduced(&self) -> Option<Channels> {
        let combined = self.combined.min(MAX_QUEUES);
        let rx = self.rx.min(MAX_QUEUES - combined);
        (self.receiving() > MAX_QUEUES).then_some(Channels { rx, combined, ..*self })
    }
}

/// One feature of an interface, as `ethtool -k` shows it.
struct Feature {
    name: String,
    /// It can be switched.
    available: bool,
    /// It was asked for.
    requested: bool,
    /// It is on.
    active: bool,
}

/// An interface of this thread's network namespace, held by its index.
#[derive(Debug)]
pub(super) struct Link {
    name: String,
    index: u32,
    control: OwnedFd,
}

impl Link {
    /// Finds an interface by its name or an alternative name.
    pub(super) fn find(name: &str) -> Result<Link, Error> {
        let refused = |error: rustix::io::Errno| Error::refused("looking up the interface", name, error.into());
        let control =
            socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None).map_err(refused)?;
        match netdevice::name_to_index(&control, name) {
            Ok(index) => {
                let name = netdevice::index_to_name(&control, index).map_err(refused)?;
                Ok(Link { name, index, control })
            }
            Err(rustix::io::Errno::NODEV | rustix::io::Errno::INVAL) => {
                Err(Error::NoInterface { name: name.to_owned(), existing: existing().join(", ") })
            }
            Err(error) => Err(refused(error)),
        }
    }

    /// The interface's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The interface's index in its namespace.
    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// Checks that the interface is up, or `cut` by us, and that its frames fit; returns its MTU in bytes.
    pub(super) fn check(&self, options: &Options, cut: bool) -> Result<u32, Error> {
        let refused = |error| Error::refused("reading flags and MTU", &self.name, error);
        if !cut && self.flags().map_err(refused)? & libc::IFF_UP == 0 {
            return Err(Error::Down(self.name.clone()));
        }
        let request = self.request(libc::SIOCGIFMTU, |_| ()).map_err(refused)?;
        // SAFETY: SIOCGIFMTU fills in this field of the union.
        #[allow(unsafe_code)]
        let mtu = unsafe { request.ifr_ifru.ifru_mtu } as u32;
        let (frame, room) = (mtu + LINK_HEADER, options.room());
        if frame > room {
            let max = room - LINK_HEADER;
            let larger = if options.chunk < 4096 { ", or set chunk to 4096" } else { "" };
            return Err(Error::Mtu { name: self.name.clone(), mtu, frame, chunk: options.chunk, room, max, larger });
        }
        Ok(mtu)
    }

    /// A number that no other network namespace has had since the machine started; zero before Linux 5.14.
    pub(super) fn namespace_cookie(&self) -> u64 {
        cookie(&self.control)
    }

    /// The receive queues that the driver uses now.
    ///
    /// A driver that has channels is asked; /sys, which shows the namespace that it was mounted in, is for the others.
    pub(super) fn rx_queues(&self) -> Result<u32, Error> {
        if let Ok(Some(channels)) = self.channels() {
            return Ok(channels.receiving());
        }
        let directory = format!("/sys/class/net/{}", self.name);
        let index = fs::read_to_string(format!("{directory}/ifindex")).unwrap_or_default();
        if index.trim() != self.index.to_string() {
            return Err(Error::Sysfs(self.name.clone()));
        }
        let entries = fs::read_dir(format!("{directory}/queues"))
            .map_err(|error| Error::refused("counting the receive queues", &self.name, error))?;
        let queues = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("rx-")).count();
        Ok(queues as u32)
    }

    /// The channels in use; none if the driver has no such thing.
    pub(super) fn channels(&self) -> io::Result<Option<Channels>> {
        let channels = match self.channels_command() {
            Ok([_, _, _, _, _, rx, tx, other, combined]) => Channels { rx, tx, other, combined },
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(channels).filter(|channels| channels.receiving() > 0))
    }

    /// Has the driver use these channels; tells whether that changed anything.
    pub(super) fn set_channels(&self, channels: &Channels) -> io::Result<bool> {
        if self.channels()? == Some(*channels) {
            return Ok(false);
        }
        let mut command = self.channels_command()?;
        command[0] = ETHTOOL_SCHANNELS;
        command[5..].copy_from_slice(&[channels.rx, channels.tx, channels.other, channels.combined]);
        self.ethtool(&mut command)?;
        Ok(true)
    }

    /// struct ethtool_channels: command; the most of rx, tx, other, combined; and now of each.
    fn channels_command(&self) -> io::Result<[u32; 9]> {
        let mut command = [ETHTOOL_GCHANNELS, 0, 0, 0, 0, 0, 0, 0, 0];
        self.ethtool(&mut command)?;
        Ok(command)
    }

    /// The name of the driver; empty if it doesn't say.
    pub(super) fn driver(&self) -> String {
        let mut command = [0; DRVINFO_WORDS];
        command[0] = ETHTOOL_GDRVINFO;
        if self.ethtool(&mut command).is_err() {
            return String::new();
        }
        let name: Vec<u8> = command[1..1 + DRIVER_NAME_LEN / 4].iter().flat_map(|word| word.to_ne_bytes()).collect();
        String::from_utf8_lossy(name.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
    }

    /// Brings the interface up or down; tells whether that changed anything.
    pub(super) fn set_up(&self, up: bool) -> io::Result<bool> {
        self.set_flag(libc::IFF_UP, up)
    }

    /// Whether the interface was made promiscuous by its administrator.
    pub(super) fn is_promiscuous(&self) -> io::Result<bool> {
        Ok(self.flags()? & libc::IFF_PROMISC != 0)
    }

    /// Makes the interface take all frames, or only its own.
    pub(super) fn set_promiscuous(&self, on: bool) -> io::Result<()> {
        self.set_flag(libc::IFF_PROMISC, on).map(drop)
    }

    fn set_flag(&self, flag: i32, on: bool) -> io::Result<bool> {
        let flags = self.flags()?;
        let wanted = if on { flags | flag } else { flags & !flag };
        if wanted != flags {
            self.request(libc::SIOCSIFFLAGS, |request| request.ifr_ifru.ifru_flags = wanted as i16)?;
        }
        Ok(wanted != flags)
    }

    /// The features that alter frames, are asked for and can be switched off.
    pub(super) fn altering_features(&self) -> io::Result<BTreeMap<String, bool>> {
        let features = self.features()?.into_iter();
        let altering =
            features.filter(|feature| feature.available && feature.requested && alters_frames(&feature.name));
        Ok(altering.map(|feature| (feature.name, true)).collect())
    }

    /// The features that alter frames and are on all the same.
    pub(super) fn stubborn_features(&self) -> io::Result<Vec<String>> {
        let features = self.features()?.into_iter();
        Ok(features
            .filter(|feature| feature.active && alters_frames(&feature.name))
            .map(|feature| feature.name)
            .collect())
    }

    /// Asks for features, or asks for them no more. Names that the interface doesn't have are ignored.
    pub(super) fn set_features(&self, wanted: &BTreeMap<String, bool>) -> io::Result<()> {
        let features = self.features()?;
        // struct ethtool_sfeatures: command, blocks; per block of 32 features: which are meant, which of those are wanted.
        let blocks = features.len().div_ceil(32);
        let mut command = vec![0; 2 + blocks * 2];
        command[..2].copy_from_slice(&[ETHTOOL_SFEATURES, blocks as u32]);
        for (bit, feature) in features.iter().enumerate().filter(|(_, feature)| feature.available) {
            if let Some(on) = wanted.get(&feature.name) {
                let (block, mask) = (2 + bit / 32 * 2, 1 << (bit % 32));
                command[block] |= mask;
                command[block + 1] |= if *on { mask } else { 0 };
            }
        }
        self.ethtool(&mut command)
    }

    fn features(&self) -> io::Result<Vec<Feature>> {
        // struct ethtool_sset_info: command, reserved, a 64-bit mask of sets; behind it the size of each.
        let mut info = vec![ETHTOOL_GSSET_INFO, 0, 0, 0, 0];
        let mask = (1u64 << ETH_SS_FEATURES).to_ne_bytes();
        for (word, bytes) in info[2..4].iter_mut().zip(mask.chunks_exact(4)) {
            *word = u32::from_ne_bytes(bytes.try_into().expect("four bytes"));
        }
        self.ethtool(&mut info)?;
        let count = info[4] as usize;

        // struct ethtool_gstrings: command, set, number; behind it the names.
        let mut strings = vec![0; 3 + count * ETH_GSTRING_LEN / 4];
        strings[..3].copy_from_slice(&[ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count as u32]);
        self.ethtool(&mut strings)?;
        let names: Vec<u8> = strings[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();

        // struct ethtool_gfeatures: command, blocks; per block of 32: available, requested, active, never changed.
        let blocks = count.div_ceil(32);
        let mut state = vec![0; 2 + blocks * 4];
        state[..2].copy_from_slice(&[ETHTOOL_GFEATURES, blocks as u32]);
        self.ethtool(&mut state)?;

        let feature = |(bit, name): (usize, &[u8])| {
            let has = |word: usize| state[2 + bit / 32 * 4 + word] & (1 << (bit % 32)) != 0;
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            let name = String::from_utf8_lossy(name).into_owned();
            Feature { name, available: has(0), requested: has(1), active: has(2) }
        };
        Ok(names.chunks_exact(ETH_GSTRING_LEN).enumerate().map(feature).collect())
    }

    /// Gives the kernel an ethtool command, which it answers in place.
    ///
    /// `command` must be as long as the command's structure says; the kernel checks only its own side.
    fn ethtool(&self, command: &mut [u32]) -> io::Result<()> {
        let data = command.as_mut_ptr().cast::<c_char>();
        self.request(libc::SIOCETHTOOL, |request| request.ifr_ifru.ifru_data = data)?;
        Ok(())
    }

    fn flags(&self) -> io::Result<i32> {
        let request = self.request(libc::SIOCGIFFLAGS, |_| ())?;
        // SAFETY: SIOCGIFFLAGS fills in this field of the union.
        #[allow(unsafe_code)]
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        Ok(i32::from(flags as u16))
    }

    /// One interface request (netdevice(7)).
    #[allow(unsafe_code)]
    fn request(&self, request: libc::Ioctl, fill: impl FnOnce(&mut libc::ifreq)) -> io::Result<libc::ifreq> {
        // SAFETY: an `ifreq` of zeros is valid: an empty name and an empty union.
        let mut argument: libc::ifreq = unsafe { mem::zeroed() };
        // The last byte stays zero: `name_to_index` took no longer name.
        for (to, from) in argument.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(self.name.bytes()) {
            *to = from as c_char;
        }
        fill(&mut argument);
        // SAFETY: `argument` is the structure that interface requests take; what `fill` made it point to is long enough
        // for the command, by the contract of `ethtool`, and outlives the call.
        match unsafe { libc::ioctl(self.control.as_raw_fd(), request, &raw mut argument) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(argument),
        }
    }
}

/// A number that no network namespace but this thread's has had since the machine started; zero before Linux 5.14.
pub(super) fn namespace_cookie() -> io::Result<u64> {
    Ok(cookie(&socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?))
}

/// The number of the network namespace in which a socket was made.
fn cookie(socket: &OwnedFd) -> u64 {
    let mut cookie = 0u64;
    let mut len = size_of::<u64>() as libc::socklen_t;
    let (socket, value) = (socket.as_raw_fd(), (&raw mut cookie).cast());
    // SAFETY: the option gives a 64-bit integer, and `cookie` is one.
    #[allow(unsafe_code)]
    let answer = unsafe { libc::getsockopt(socket, libc::SOL_SOCKET, SO_NETNS_COOKIE, value, &raw mut len) };
    if answer == 0 { cookie } else { 0 }
}

/// The interfaces of this thread's network namespace.
fn existing() -> Vec<String> {
    let devices = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    devices.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_interface_is_answered_with_those_that_exist() {
        let Err(error) = Link::find("no-such-port") else { panic!("found") };
        let text = error.to_string();
        assert!(text.contains("\"no-such-port\"") && text.contains("lo"), "{text}");
    }

    #[test]
    fn every_interface_names_its_features() {
        let link = Link::find("lo").unwrap();
        let features = link.features().unwrap();
        assert!(features.iter().any(|feature| feature.name == "rx-gro" && feature.available));
        assert!(features.iter().all(|feature| !feature.available || !feature.name.is_empty()));
    }

    #[test]
    fn too_many_channels_are_reduced_combined_ones_first() {
        let channels = |rx, combined| Channels { rx, tx: 4, other: 1, combined };
        assert_eq!(channels(8, 0).reduced(), None);
        assert_eq!(channels(0, 8).reduced(), None);
        assert_eq!(channels(16, 0).reduced(), Some(channels(8, 0)));
        assert_eq!(channels(0, 63).reduced(), Some(channels(0, 8)));
        assert_eq!(channels(8, 6).reduced(), Some(channels(2, 6)));
    }

    #[test]
    fn offloads_that_alter_frames_are_known_by_name() {
        for name in ["rx-gro", "tx-tcp6-segmentation", "tx-udp-segmentation", "rx-vlan-stag-hw-parse"] {
            assert!(alters_frames(name), "{name}");
        }
        for name in ["tx-checksum-ip-generic", "rx-checksum", "highdma", "tx-nocache-copy"] {
            assert!(!alters_frames(name), "{name}");
        }
    }
}
