//! An interface: its facts, and the settings that a port needs.

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::os::fd::{AsRawFd, OwnedFd};
use std::{fs, io, mem};

use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

use super::diagnosis::Error;
use super::umem::Options;

/// The Ethernet header and two VLAN tags, which an MTU doesn't count.
const LINK_HEADER: u32 = 14 + 2 * 4;

// Commands of SIOCETHTOOL, and the string set that names the features (linux/ethtool.h).
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETHTOOL_SFEATURES: u32 = 0x3b;
const ETH_SS_FEATURES: u32 = 4;
const ETH_GSTRING_LEN: usize = 32;

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

    /// Checks that the interface is up and its frames fit, and returns its MTU in bytes.
    pub(super) fn check(&self, options: &Options) -> Result<u32, Error> {
        let refused = |error| Error::refused("reading flags and MTU", &self.name, error);
        if self.flags().map_err(refused)? & libc::IFF_UP == 0 {
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
        let mut cookie = 0u64;
        let mut len = size_of::<u64>() as libc::socklen_t;
        let value = (&raw mut cookie).cast();
        let socket = self.control.as_raw_fd();
        // SAFETY: the option gives a 64-bit integer, and `cookie` is one.
        #[allow(unsafe_code)]
        let answer = unsafe { libc::getsockopt(socket, libc::SOL_SOCKET, SO_NETNS_COOKIE, value, &raw mut len) };
        if answer == 0 { cookie } else { 0 }
    }

    /// The receive queues that the driver uses now.
    ///
    /// A driver that has channels is asked; /sys, which shows the namespace that it was mounted in, is for the others.
    pub(super) fn rx_queues(&self) -> Result<u32, Error> {
        // struct ethtool_channels: command; the most of rx, tx, other, combined; and now of each.
        let mut channels = [ETHTOOL_GCHANNELS, 0, 0, 0, 0, 0, 0, 0, 0];
        if self.ethtool(&mut channels).is_ok() && channels[5] + channels[8] > 0 {
            return Ok(channels[5] + channels[8]);
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

    /// Whether the interface was made promiscuous by its administrator.
    pub(super) fn is_promiscuous(&self) -> io::Result<bool> {
        Ok(self.flags()? & libc::IFF_PROMISC != 0)
    }

    /// Makes the interface take all frames, or only its own.
    pub(super) fn set_promiscuous(&self, on: bool) -> io::Result<()> {
        let flags = self.flags()?;
        let wanted = if on { flags | libc::IFF_PROMISC } else { flags & !libc::IFF_PROMISC };
        if wanted != flags {
            self.request(libc::SIOCSIFFLAGS, |request| request.ifr_ifru.ifru_flags = wanted as i16)?;
        }
        Ok(())
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
    fn offloads_that_alter_frames_are_known_by_name() {
        for name in ["rx-gro", "tx-tcp6-segmentation", "tx-udp-segmentation", "rx-vlan-stag-hw-parse"] {
            assert!(alters_frames(name), "{name}");
        }
        for name in ["tx-checksum-ip-generic", "rx-checksum", "highdma", "tx-nocache-copy"] {
            assert!(!alters_frames(name), "{name}");
        }
    }
}
