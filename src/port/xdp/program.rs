//! The kernel's share of a port: loading, attaching, counting.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::mem::{self, offset_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use libbpf_sys::{libbpf_num_possible_cpus, libbpf_set_print};
use libxdp_sys as sys;

use super::beat::{Beat, Pulse, STALE};
use super::bypass;
use super::diagnosis::Error;
use super::link::Link;
use super::wire::Mode;

/// The name of the function in program.bpf.c, which the kernel keeps as the program's name.
const NAME: &CStr = c"tidegate";

/// The name of the map in program.bpf.c by which a port is bypassed.
const BYPASS: &CStr = c"bypass";

/// The most maps of a program that are looked through for one of ours.
const MAPS_MAX: usize = 16;

// Flags of an attachment (linux/if_link.h).
const XDP_FLAGS_UPDATE_IF_NOEXIST: u32 = 1 << 0;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const XDP_FLAGS_REPLACE: u32 = 1 << 4;

/// A driver says with this that it has zero-copy (linux/netdev.h).
const NETDEV_XDP_ACT_XSK_ZEROCOPY: u64 = 1 << 3;

/// The compiled program; libelf wants to find its words aligned.
static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/program.bpf.o")));

#[repr(align(8))]
struct Aligned<B: ?Sized>(B);

/// `settings` of program.bpf.c.
#[repr(C)]
struct Settings {
    stale_ns: u64,
    closed: u32,
    _padding: u32,
}

/// Frames that a port's kernel program saw since it was attached, by what it did with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sent to the socket of their queue; what the socket then lost is in [`RxLosses`](crate::port::RxLosses).
    pub redirected: u64,
    /// Left to the kernel because the port was bypassed.
    pub bypassed: u64,
    /// Left to the kernel because nobody served the queue: no beat was fresh, or the port was muted.
    pub stale: u64,
    /// Left to the kernel because the queue had no socket.
    pub no_socket: u64,
    /// Dropped because nobody served the queue, or it had no socket, and the port is closed on failure.
    pub closed: u64,
}

/// A port's kernel program with its maps.
///
/// It stays attached when this is dropped; [`detach`](super::detach) removes it.
#[derive(Debug)]
pub struct Program {
    pulse: Arc<Pulse>,
    program: RawFd,
    sockets: RawFd,
    counts: RawFd,
    bypass: RawFd,
    /// The descriptors above are its own.
    _object: Object,
}

/// What libbpf made of the compiled program.
#[derive(Debug)]
struct Object(NonNull<sys::bpf_object>);

// SAFETY: a libbpf object has no ties to the thread that opened it, and only its owner calls into it.
#[allow(unsafe_code)]
unsafe impl Send for Object {}

#[allow(unsafe_code)]
impl Program {
    /// Loads the program for a port with this many queues, which drops what isn't redirected if it is `closed`.
    pub(super) fn load(link: &Link, queues: u32, closed: bool) -> Result<Program, Error> {
        // libbpf writes its complaints to stderr otherwise; ours say the same with the cure.
        // SAFETY: no callback, so nothing to keep alive.
        unsafe { libbpf_set_print(None) };
        Program::open(queues, closed).map_err(|error| Error::refused("loading the XDP program", link.name(), error))
    }

    fn open(queues: u32, closed: bool) -> io::Result<Program> {
        let object = Object::open()?;
        let sockets = object.map(c"sockets")?;
        let settings = Settings { stale_ns: STALE.0, closed: u32::from(closed), _padding: 0 };
        let value = (&raw const settings).cast::<c_void>();
        // SAFETY: the object is open and not loaded yet; the value is as long as is said, which libbpf checks.
        unsafe {
            answer(sys::bpf_map__set_max_entries(sockets, queues))?;
            answer(sys::bpf_map__set_initial_value(object.map(c".rodata")?, value, size_of::<Settings>()))?;
            answer(sys::bpf_object__load(object.0.as_ptr()))?;
        }
        let variables = object.map(c".bss")?;
        // SAFETY: the object is open.
        if unsafe { sys::bpf_map__value_size(variables) } as usize != Pulse::BYTES {
            return Err(io::Error::other("the embedded object's variables are not those of this program"));
        }
        let descriptor = |map: *mut sys::bpf_map| {
            // SAFETY: the map is one of the object's, which is loaded.
            answer(unsafe { sys::bpf_map__fd(map) })
        };
        // SAFETY: the descriptor is the object's, which outlives the call.
        let pulse = Pulse::map(unsafe { BorrowedFd::borrow_raw(descriptor(variables)?) })?;
        // SAFETY: the object is loaded, and `found` lets no null pass.
        let program = unsafe {
            answer(sys::bpf_program__fd(found(sys::bpf_object__find_program_by_name(
                object.0.as_ptr(),
                NAME.as_ptr(),
            ))?))?
        };
        Ok(Program {
            pulse,
            program,
            sockets: descriptor(sockets)?,
            counts: descriptor(object.map(c"counts")?)?,
            bypass: descriptor(object.map(BYPASS)?)?,
            _object: object,
        })
    }

    /// The beat of a queue.
    pub(super) fn beat(&self, queue: u32) -> Beat {
        Beat::new(Arc::clone(&self.pulse), queue)
    }

    /// Sends the frames of a queue to a socket from now on.
    pub(super) fn connect(&self, queue: u32, socket: RawFd) -> io::Result<()> {
        let (key, value) = ((&raw const queue).cast::<c_void>(), (&raw const socket).cast::<c_void>());
        // SAFETY: key and value are 32-bit integers, as the map declares.
        answer(unsafe { sys::bpf_map_update_elem(self.sockets, key, value, 0) }).map(drop)
    }

    /// Attaches the program in the place of one of ours, if there is one: atomically if both run in the driver or neither does.
    /// If the port was bypassed it stays so.
    pub(super) fn attach(&self, link: &Link, mode: Mode) -> Result<(), Error> {
        let old = Attached::find(link)?;
        if let Some(old) = &old {
            self.take_over(old).map_err(|error| Error::refused("asking whether it is bypassed", link.name(), error))?;
        }
        let old = match old {
            Some(old) if old.flag != flag(mode) => {
                old.detach(link)?;
                None
            }
            old => old,
        };
        let (flags, old) = match &old {
            Some(old) => (XDP_FLAGS_REPLACE, old.program.as_raw_fd()),
            None => (XDP_FLAGS_UPDATE_IF_NOEXIST, 0),
        };
        attach(link, self.program, flags | flag(mode), old)
            .map_err(|error| Error::mode(mode, "attaching the XDP program", link.name(), error))
    }

    fn take_over(&self, old: &Attached) -> io::Result<()> {
        match old.bypass() {
            Ok(map) => self.set_bypass(bypass::read(map.as_fd())?),
            // A program without that map can't be bypassed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The frames that the program saw.
    ///
    /// # Errors
    ///
    /// If the kernel doesn't answer, which it always should.
    pub fn counts(&self) -> io::Result<Counts> {
        let [redirected, bypassed, stale, no_socket, closed] = [0, 1, 2, 3, 4].map(|outcome| self.count(outcome));
        Ok(Counts {
            redirected: redirected?,
            bypassed: bypassed?,
            stale: stale?,
            no_socket: no_socket?,
            closed: closed?,
        })
    }

    /// Whether all frames go past the program, to the kernel.
    ///
    /// # Errors
    ///
    /// If the kernel doesn't answer, which it always should.
    pub fn bypassed(&self) -> io::Result<bool> {
        bypass::read(self.bypass_map())
    }

    /// Sends all frames past the program, or to it again; see [`set_bypass`](super::set_bypass).
    ///
    /// # Errors
    ///
    /// If the kernel refuses, which it never should.
    pub fn set_bypass(&self, on: bool) -> io::Result<()> {
        bypass::write(self.bypass_map(), on)
    }

    /// Makes the program redirect nothing from now on, whatever beats; what is in the sockets already is still received.
    pub fn mute(&self) {
        self.pulse.mute(true);
    }

    /// Lets beats count again.
    pub fn unmute(&self) {
        self.pulse.mute(false);
    }

    fn bypass_map(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is the object's, which is closed when `self` is dropped.
        unsafe { BorrowedFd::borrow_raw(self.bypass) }
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

#[allow(unsafe_code)]
impl Object {
    fn open() -> io::Result<Object> {
        // SAFETY: the object is static, and no options are given.
        let object = unsafe { sys::bpf_object__open_mem(OBJECT.0.as_ptr().cast(), OBJECT.0.len(), ptr::null()) };
        NonNull::new(object).map(Object).ok_or_else(io::Error::last_os_error)
    }

    fn map(&self, name: &CStr) -> io::Result<*mut sys::bpf_map> {
        // SAFETY: the object is open, and the name ends in zero.
        found(unsafe { sys::bpf_object__find_map_by_name(self.0.as_ptr(), name.as_ptr()) })
    }
}

impl Drop for Object {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the object was opened by `open` and is closed once. The attachment has its own hold on the program.
        unsafe { sys::bpf_object__close(self.0.as_ptr()) };
    }
}

/// A program of ours that is attached to an interface.
pub(super) struct Attached {
    /// How it is attached: in the driver or in the stack.
    flag: u32,
    program: OwnedFd,
}

#[allow(unsafe_code)]
impl Attached {
    /// The program that is attached, if one is and it is ours.
    pub(super) fn find(link: &Link) -> Result<Option<Attached>, Error> {
        let refused = |error| Error::refused("asking for the attached XDP program", link.name(), error);
        let size = offset_of!(sys::bpf_xdp_query_opts, skb_prog_id) + size_of::<u32>();
        let query = query(link, size).map_err(refused)?;
        let (flag, id) = match (query.drv_prog_id, query.skb_prog_id) {
            (0, 0) if query.prog_id == 0 => return Ok(None),
            (0, 0) => (XDP_FLAGS_SKB_MODE, query.prog_id),
            (0, generic) => (XDP_FLAGS_SKB_MODE, generic),
            (native, _) => (XDP_FLAGS_DRV_MODE, native),
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
        let name = text(&info(&program, &mut []).map_err(refused)?.name);
        if name != NAME.to_string_lossy() {
            return Err(Error::ForeignProgram { name: link.name().to_owned(), program: name, id });
        }
        Ok(Some(Attached { flag, program }))
    }

    /// The map by which the program is bypassed; [`io::ErrorKind::NotFound`] if it has none.
    pub(super) fn bypass(&self) -> io::Result<OwnedFd> {
        let mut ids = [0; MAPS_MAX];
        let maps = info(&self.program, &mut ids)?.nr_map_ids as usize;
        for id in &ids[..maps.min(MAPS_MAX)] {
            // SAFETY: asks for a descriptor by number, which the kernel makes for us.
            let map = unsafe { OwnedFd::from_raw_fd(answer(sys::bpf_map_get_fd_by_id(*id))?) };
            // SAFETY: the structure is plain integers.
            let mut info: sys::bpf_map_info = unsafe { mem::zeroed() };
            let mut len = size_of::<sys::bpf_map_info>() as u32;
            // SAFETY: `info` is `len` bytes long, and the kernel fills in nothing else.
            answer(unsafe { sys::bpf_map_get_info_by_fd(map.as_raw_fd(), &raw mut info, &raw mut len) })?;
            if text(&info.name) == BYPASS.to_string_lossy() {
                return Ok(map);
            }
        }
        Err(io::Error::from_raw_os_error(libc::ENOENT))
    }

    /// Removes the program, unless another has taken its place.
    pub(super) fn detach(self, link: &Link) -> Result<(), Error> {
        attach(link, -1, XDP_FLAGS_REPLACE | self.flag, self.program.as_raw_fd())
            .map_err(|error| Error::refused("detaching the XDP program", link.name(), error))
    }
}

/// Whether the driver of an interface says what it can do, and zero-copy isn't among it; drivers say so since Linux 6.3.
pub(super) fn lacks_zero_copy(link: &Link) -> bool {
    let size = offset_of!(sys::bpf_xdp_query_opts, feature_flags) + size_of::<u64>();
    let features = query(link, size).map_or(0, |query| query.feature_flags);
    features != 0 && features & NETDEV_XDP_ACT_XSK_ZEROCOPY == 0
}

/// What the kernel says about XDP on an interface, in the first `size` bytes of the structure.
#[allow(unsafe_code)]
fn query(link: &Link, size: usize) -> io::Result<sys::bpf_xdp_query_opts> {
    // SAFETY: the structure is plain integers.
    let mut query: sys::bpf_xdp_query_opts = unsafe { mem::zeroed() };
    query.sz = size;
    // SAFETY: `query` says how much of it libbpf may fill in.
    answer(unsafe { sys::bpf_xdp_query(link.index() as c_int, 0, &raw mut query) })?;
    Ok(query)
}

/// What the kernel says about a program, and the numbers of as many of its maps as there is room for.
#[allow(unsafe_code)]
fn info(program: &OwnedFd, maps: &mut [u32]) -> io::Result<sys::bpf_prog_info> {
    // SAFETY: the structure is plain integers.
    let mut info: sys::bpf_prog_info = unsafe { mem::zeroed() };
    info.nr_map_ids = maps.len() as u32;
    info.map_ids = maps.as_mut_ptr() as u64;
    let mut len = size_of::<sys::bpf_prog_info>() as u32;
    // SAFETY: `info` is `len` bytes long; behind `map_ids` is room for as many as it says, and all other pointers are null.
    answer(unsafe { sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut len) })?;
    Ok(info)
}

/// A name as the kernel keeps it.
fn text(name: &[c_char]) -> String {
    let bytes: Vec<u8> = name.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
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
        Mode::ZeroCopy | Mode::NativeCopy => XDP_FLAGS_DRV_MODE,
        Mode::Generic => XDP_FLAGS_SKB_MODE,
    }
}

/// A part of the object.
fn found<T>(part: *mut T) -> io::Result<*mut T> {
    if part.is_null() { Err(io::Error::other("the embedded object lacks one of its parts")) } else { Ok(part) }
}

/// libbpf's answers are negative error numbers.
pub(super) fn answer(answer: c_int) -> io::Result<c_int> {
    if answer < 0 { Err(io::Error::from_raw_os_error(-answer)) } else { Ok(answer) }
}
