//! The way past a port's program, which any process may open: also when the one that runs the bridge hangs.

use std::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::{fmt, io};

use libxdp_sys as sys;

use super::diagnosis::Error;
use super::link::Link;
use super::program::{Attached, answer};
use super::state;

/// Whether the frames of an interface go past our program, to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bypass {
    /// The interface.
    pub interface: String,
    /// All frames pass, even if the port is closed on failure.
    pub on: bool,
}

impl fmt::Display for Bypass {
    /// `eth1: bypass on`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: bypass {}", self.interface, if self.on { "on" } else { "off" })
    }
}

/// Sends the frames of these interfaces past our program, or to it again; of all in this network namespace that have our
/// program if none is named. It holds until it is taken back, also over a restart. Returns how it is now.
///
/// # Errors
///
/// If an interface doesn't exist or doesn't have our program, or if the kernel refuses; whatever could be done is done.
pub fn set_bypass(interfaces: &[String], on: bool) -> Result<Vec<Bypass>, Error> {
    each(interfaces, |map| {
        write(map, on)?;
        read(map)
    })
}

/// How it is on these interfaces, or on all in this network namespace that have our program.
///
/// # Errors
///
/// As [`set_bypass`].
pub fn bypassed(interfaces: &[String]) -> Result<Vec<Bypass>, Error> {
    each(interfaces, read)
}

/// Does something with the map of every interface, also after one has failed.
fn each(interfaces: &[String], act: impl Fn(BorrowedFd<'_>) -> io::Result<bool>) -> Result<Vec<Bypass>, Error> {
    if !interfaces.is_empty() {
        let done: Vec<_> = interfaces.iter().map(|interface| one(interface, &act)).collect();
        return done.into_iter().collect();
    }
    let done: Vec<_> = state::recorded()?.iter().map(|interface| one(interface, &act)).collect();
    // A state file may be all that is left.
    done.into_iter().filter(|one| !matches!(one, Err(Error::NoInterface { .. } | Error::NoProgram(_)))).collect()
}

fn one(interface: &str, act: impl Fn(BorrowedFd<'_>) -> io::Result<bool>) -> Result<Bypass, Error> {
    let link = Link::find(interface)?;
    let Some(attached) = Attached::find(&link)? else { return Err(Error::NoProgram(link.name().to_owned())) };
    let on = attached.bypass().and_then(|map| act(map.as_fd()));
    let on = on.map_err(|error| Error::refused("bypassing the XDP program", link.name(), error))?;
    Ok(Bypass { interface: link.name().to_owned(), on })
}

/// What the map `bypass` of a program says.
#[allow(unsafe_code)]
pub(super) fn read(map: BorrowedFd<'_>) -> io::Result<bool> {
    let (key, mut value) = (0u32, 0u32);
    let (key, to) = ((&raw const key).cast::<c_void>(), (&raw mut value).cast::<c_void>());
    // SAFETY: key and value are 32-bit integers, as the map declares.
    answer(unsafe { sys::bpf_map_lookup_elem(map.as_raw_fd(), key, to) })?;
    Ok(value != 0)
}

/// Writes the map `bypass` of a program.
#[allow(unsafe_code)]
pub(super) fn write(map: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let (key, value) = (0u32, u32::from(on));
    let (key, from) = ((&raw const key).cast::<c_void>(), (&raw const value).cast::<c_void>());
    // SAFETY: key and value are 32-bit integers, as the map declares.
    answer(unsafe { sys::bpf_map_update_elem(map.as_raw_fd(), key, from, 0) }).map(drop)
}
