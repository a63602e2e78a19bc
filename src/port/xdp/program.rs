//! The kernel's share of a port: loading, attaching, counting.

use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::mem::{self, offset_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};

use libbpf_sys::{libbpf_num_possible_cpus, libbpf_set_print};
use libxdp_sys as sys;

use super::diagnosis::Error;
use super::link::Link;
use super::wire::Mode;

/// The name of the function in program.bpf.c, which the kernel keeps as the program's name.
const NAME: &CStr = c"tidegate";

// Flags of an attachment (linux/if_link.h).
const XDP_FLAGS_UPDATE_IF_NOEXIST: u32 = 1 << 0;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const XDP_FLAGS_REPLACE: u32 = 1 << 4;

/// The compiled program; libelf wants to find its words aligned.
static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/program.bpf.o")));

#[repr(align(8))]
struct Aligned<B: ?Sized>(B);

/// Frames that a port's kernel program saw since it was attached, by what it did with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sent to the socket of their queue; what the socket then lost is in [`RxLosses`](crate::port::RxLosses).
    pub redirected: u64,
    /// Left to the kernel because no socket was there.
    pub passed: u64,
}

/// A port's kernel program with its maps.
///
/// It stays attached when this is dropped; [`detach`](super::detach) removes it.
#[derive(Debug)]
pub struct Program {
    object: NonNull<sys::bpf_object>,
    program: RawFd,
    sockets: RawFd,
    counts: RawFd,
}

// SAFETY: a libbpf object has no ties to the thread that opened it, and only its owner calls into it.
#[allow(unsafe_code)]
unsafe impl Send for Program {}

#[allow(unsafe_code)]
impl Program {
    /// Loads the program for a port with this many queues.
    pub(super) fn load(link: &Link, queues: u32) -> Result<Program, Error> {
        // libbpf writes its complaints to stderr otherwise; ours say the same with the cure.
        // SAFETY: no callback, so nothing to keep alive.
        unsafe { libbpf_set_print(None) };
        Program::open(queues).map_err(|error| Error::refused("loading the XDP program", link.name(), error))
    }

    fn open(queues: u32) -> io::Result<Program> {
        // SAFETY: the object is static, and no options are given.
        let object = unsafe { sys::bpf_object__open_mem(OBJECT.0.as_ptr().cast(), OBJECT.0.len(), ptr::null()) };
        let object = NonNull::new(object).ok_or_else(io::Error::last_os_error)?;
        let mut opened = Program { object, program: -1, sockets: -1, counts: -1 };
        let object = opened.object.as_ptr();
        // SAFETY: the object is open, the names end in zero, and nothing is done with a null for a name that isn't there.
        unsafe {
            let sockets = found(sys::bpf_object__find_map_by_name(object, c"sockets".as_ptr()))?;
            let counts = found(sys::bpf_object__find_map_by_name(object, c"counts".as_ptr()))?;
            let program = found(sys::bpf_object__find_program_by_name(object, NAME.as_ptr()))?;
            answer(sys::bpf_map__set_max_entries(sockets, queues))?;
            answer(sys::bpf_object__load(object))?;
            opened.sockets = answer(sys::bpf_map__fd(sockets))?;
            opened.counts = answer(sys::bpf_map__fd(counts))?;
            opened.program = answer(sys::bpf_program__fd(program))?;
        }
        Ok(opened)
    }

    /// Sends the frames of a queue to a socket from now on.
    pub(super) fn connect(&self, queue: u32, socket: RawFd) -> io::Result<()> {
        let (key, value) = ((&raw const queue).cast::<c_void>(), (&raw const socket).cast::<c_void>());
        // SAFETY: key and value are 32-bit integers, as the map declares.
        answer(unsafe { sys::bpf_map_update_elem(self.sockets, key, value, 0) }).map(drop)
    }

    /// Attaches the program in the place of one of ours, if there is one: atomically if that has the same mode.
    pub(super) fn attach(&self, link: &Link, mode: Mode) -> Result<(), Error> {
        let old = match Attached::find(link)? {
            Some(old) if old.mode != mode => {
                old.detach(link)?;
                None
            }
            old => old,
        };
        let (flags, old) = match &old {
            Some(old) => (XDP_FLAGS_REPLACE, old.program.as_raw_fd()),
            None => (XDP_FLAGS_UPDATE_IF_NOEXIST, 0),
        };
        attach(link, self.program, flags | flag(mode), old).map_err(|error| Error::attaching(mode, link.name(), error))
    }

    /// The frames that the program saw.
    ///
    /// # Errors
    ///
    /// If the kernel doesn't answer, which it always should.
    pub fn counts(&self) -> io::Result<Counts> {
        Ok(Counts { redirected: self.count(0)?, passed: self.count(1)? })
    }

    /// One entry of `counts`, summed over all processors.
    fn count(&self, index: u32) -> io::Result<u64> {
        // SAFETY: asks for a number.
        let cpus = answer(unsafe { libbpf_num_possible_cpus() })?;
        let mut values = vec![0u64; cpus as usize];
        let (key, value) = ((&raw const index).cast::<c_void>(), values.as_mut_ptr().cast::<c_void>());
        // SAFETY: the key is a 32-bit integer, and the kernel writes eight bytes for every possible processor.
        answer(unsafe { sys::bpf_map_lookup_elem(self.counts, key, value) })?;
        Ok(values.iter().sum())
    }
}

impl Drop for Program {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the object was opened by `open` and is closed once. The attachment has its own hold on the program.
        unsafe { sys::bpf_object__close(self.object.as_ptr()) };
    }
}

/// A program of ours that is attached to an interface.
pub(super) struct Attached {
    mode: Mode,
    program: OwnedFd,
}

#[allow(unsafe_code)]
impl Attached {
    /// The program that is attached, if one is and it is ours.
    pub(super) fn find(link: &Link) -> Result<Option<Attached>, Error> {
        let refused = |error| Error::refused("asking for the attached XDP program", link.name(), error);
        // SAFETY: the structure is plain integers.
        let mut query: sys::bpf_xdp_query_opts = unsafe { mem::zeroed() };
        query.sz = offset_of!(sys::bpf_xdp_query_opts, skb_prog_id) + size_of::<u32>();
        // SAFETY: `query` says how much of it libbpf may fill in.
        answer(unsafe { sys::bpf_xdp_query(link.index() as c_int, 0, &raw mut query) }).map_err(refused)?;
        let (mode, id) = match (query.drv_prog_id, query.skb_prog_id) {
            (0, 0) if query.prog_id == 0 => return Ok(None),
            (0, 0) => (Mode::Generic, query.prog_id),
            (0, generic) => (Mode::Generic, generic),
            (native, _) => (Mode::NativeCopy, native),
        };
        // SAFETY: asks for a descriptor by number.
        let program = match answer(unsafe { sys::bpf_prog_get_fd_by_id(id) }) {
            Ok(program) => program,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(Error::Privileges(format!(
                    "CAP_SYS_ADMIN to look at XDP program {id}, which is attached to {0} already; remove it (ip link set \
                     dev {0} xdp off) or run as root",
                    link.name()
                )));
            }
            Err(error) => return Err(refused(error)),
        };
        // SAFETY: the kernel has just made the descriptor for us.
        let program = unsafe { OwnedFd::from_raw_fd(program) };
        let name = name(&program).map_err(refused)?;
        if name != NAME.to_string_lossy() {
            return Err(Error::ForeignProgram { name: link.name().to_owned(), program: name, id });
        }
        Ok(Some(Attached { mode, program }))
    }

    /// Removes the program, unless another has taken its place.
    pub(super) fn detach(self, link: &Link) -> Result<(), Error> {
        attach(link, -1, XDP_FLAGS_REPLACE | flag(self.mode), self.program.as_raw_fd())
            .map_err(|error| Error::refused("detaching the XDP program", link.name(), error))
    }
}

/// The kernel's name for a program.
#[allow(unsafe_code)]
fn name(program: &OwnedFd) -> io::Result<String> {
    // SAFETY: the structure is plain integers.
    let mut info: sys::bpf_prog_info = unsafe { mem::zeroed() };
    let mut len = size_of::<sys::bpf_prog_info>() as u32;
    // SAFETY: `info` is `len` bytes long, and its pointers are null, so the kernel fills in nothing else.
    answer(unsafe { sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut len) })?;
    let bytes = info.name.map(|byte| byte as u8);
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

/// Puts `program` (-1 for none) on an interface, with `XDP_FLAGS_REPLACE` only in the place of `old`.
#[allow(unsafe_code)]
fn attach(link: &Link, program: RawFd, flags: u32, old: RawFd) -> io::Result<()> {
    // Up to the end of the last field: libbpf refuses anything but zeros behind it, and padding may be anything.
    let sz = offset_of!(sys::bpf_xdp_attach_opts, old_prog_fd) + size_of::<c_int>();
    let options = sys::bpf_xdp_attach_opts { sz, old_prog_fd: old };
    // SAFETY: `options` says its own size.
    answer(unsafe { sys::bpf_xdp_attach(link.index() as c_int, program, flags, &raw const options) }).map(drop)
}

fn flag(mode: Mode) -> u32 {
    match mode {
        Mode::NativeCopy => XDP_FLAGS_DRV_MODE,
        Mode::Generic => XDP_FLAGS_SKB_MODE,
    }
}

/// A part of the object.
fn found<T>(part: *mut T) -> io::Result<*mut T> {
    if part.is_null() { Err(io::Error::other("the embedded object lacks one of its parts")) } else { Ok(part) }
}

/// libbpf's answers are negative error numbers.
fn answer(answer: c_int) -> io::Result<c_int> {
    if answer < 0 { Err(io::Error::from_raw_os_error(-answer)) } else { Ok(answer) }
}
