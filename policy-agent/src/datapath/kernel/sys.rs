//! The few calls of bpf(2) that aya does not offer.
//!
//! Owns all raw use of the system call. Callers see slices and descriptors.
#![expect(unsafe_code, reason = "bpf(2) takes pointers")]

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use aya::{
    maps::{MapData, MapError},
    programs::TcAttachType,
};

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_LINK_DETACH: libc::c_long = 34;

/// `BPF_TCX_INGRESS` and `BPF_TCX_EGRESS` of `enum bpf_attach_type`.
const TCX_INGRESS: u32 = 46;
const TCX_EGRESS: u32 = 47;
/// No hook takes more programs (`BPF_MPROG_MAX` in linux/bpf_mprog.h).
const MOST_TCX: usize = 64;

/// Type of an array.
pub(crate) const ARRAY: u32 = 2;
/// Type of an array of maps.
pub(crate) const ARRAY_OF_MAPS: u32 = 12;

/// The start of `union bpf_attr` as `BPF_MAP_CREATE` reads it.
#[repr(C)]
struct Create {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
}

/// `union bpf_attr` as the batch commands read it.
#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    element_flags: u64,
    flags: u64,
}

/// `union bpf_attr` as `BPF_PROG_QUERY` reads and writes it.
#[repr(C)]
#[derive(Default)]
struct Query {
    target_ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    reserved: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// `union bpf_attr` as `BPF_OBJ_GET` and `BPF_OBJ_PIN` read it.
#[repr(C)]
struct ObjectGet {
    path: u64,
    fd: u32,
    flags: u32,
}

/// `union bpf_attr` as `BPF_PROG_TEST_RUN` reads it, as far as it is used here.
#[repr(C)]
struct TestRun {
    program: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

/// `union bpf_attr` as `BPF_OBJ_GET_INFO_BY_FD` reads it.
#[repr(C)]
struct GetInfo {
    fd: u32,
    length: u32,
    info: u64,
}

/// The start of `struct bpf_link_info`, of a link to an interface.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    ifindex: u32,
    attach_type: u32,
}

/// The index of the interface of a TCX link, in the network namespace in which that is; 0: it is gone.
pub(crate) fn link_interface(link: &OwnedFd) -> io::Result<u32> {
    let mut info = LinkInfo::default();
    let attributes = GetInfo {
        fd: link.as_raw_fd().cast_unsigned(),
        length: size_of::<LinkInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: the kernel reads the structure, and writes as many bytes as it says to the other one; both
    // outlive the call, as the descriptor does.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_OBJ_GET_INFO_BY_FD,
            &raw const attributes,
            size_of::<GetInfo>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info.ifindex)
}

/// Runs a program once on a packet and returns what the program returned.
pub(crate) fn test_run(program: &OwnedFd, packet: &[u8]) -> io::Result<u32> {
    let mut attributes = TestRun {
        program: program.as_raw_fd().cast_unsigned(),
        retval: 0,
        data_size_in: u32::try_from(packet.len()).map_err(io::Error::other)?,
        data_size_out: 0,
        data_in: packet.as_ptr() as u64,
        data_out: 0,
        repeat: 1,
        duration: 0,
    };
    // SAFETY: the kernel reads the structure and as many bytes of the packet as it is long, and
    // writes into the structure; both outlive the call. It gives no packet back without a place.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_TEST_RUN,
            &raw mut attributes,
            size_of::<TestRun>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(attributes.retval)
}

/// Opens what is pinned.
pub(crate) fn open_pin(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let attributes = ObjectGet {
        path: path.as_ptr() as u64,
        fd: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads the structure and the string that ends with zero; both outlive the
    // call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_OBJ_GET,
            &raw const attributes,
            size_of::<ObjectGet>(),
        )
    };
    owned(fd)
}

/// Pins an object.
pub(crate) fn pin(object: &OwnedFd, pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let attributes = ObjectGet {
        path: path.as_ptr() as u64,
        fd: object.as_raw_fd().cast_unsigned(),
        flags: 0,
    };
    // SAFETY: the kernel reads the structure and the string that ends with zero; both outlive the
    // call, as the descriptor does.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_OBJ_PIN,
            &raw const attributes,
            size_of::<ObjectGet>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Takes a link off its interface at once (Linux 5.9 and later). Removing the pin does the same,
/// but some time later.
pub(crate) fn detach_link(link: &OwnedFd) -> io::Result<()> {
    let attributes = link.as_raw_fd();
    // SAFETY: the kernel reads one word, the link's descriptor, which outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_LINK_DETACH,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The kernel's ids of the TCX programs of a hook of an interface of this thread's network namespace,
/// in the order in which they run (Linux 6.6 and later). aya's `query_tcx` also opens each program by its
/// id, which takes `CAP_SYS_ADMIN`.
pub(crate) fn tcx_programs(ifindex: u32, hook: TcAttachType) -> io::Result<Vec<u32>> {
    let attach_type = match hook {
        TcAttachType::Ingress => TCX_INGRESS,
        TcAttachType::Egress => TCX_EGRESS,
        TcAttachType::Custom(_) => return Ok(Vec::new()),
    };
    let mut ids = [0u32; MOST_TCX];
    let mut attributes = Query {
        target_ifindex: ifindex,
        attach_type,
        prog_ids: ids.as_mut_ptr() as u64,
        count: u32::try_from(ids.len()).unwrap_or(u32::MAX),
        ..Query::default()
    };
    // SAFETY: the kernel reads the structure, writes its count and revision, and at most `count`
    // ids, which the array has room for; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_QUERY,
            &raw mut attributes,
            size_of::<Query>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let count = usize::try_from(attributes.count).unwrap_or(usize::MAX);
    Ok(ids.into_iter().take(count).collect())
}

/// The descriptor that a call returned, or its error.
fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the call succeeded and returned a descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes an array with one slot of four bytes.
pub(crate) fn one_slot(map_type: u32, inner: Option<&MapData>) -> Result<MapData, MapError> {
    let attributes = Create {
        map_type,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        map_flags: 0,
        inner_map_fd: inner.map_or(0, descriptor),
    };
    // SAFETY: the kernel reads as many bytes of the structure as it is long; it outlives the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_CREATE,
            &raw const attributes,
            size_of::<Create>(),
        )
    };
    MapData::from_fd(owned(fd)?)
}

/// Reads all elements of a hash map, some hundreds per call (Linux 5.6 and later). Elements that
/// come and go meanwhile may be missed, none is read twice.
pub(crate) fn for_each<K: bytemuck::Pod, V: bytemuck::Pod>(
    map: &MapData,
    mut visit: impl FnMut(K, V),
) -> io::Result<()> {
    // More than any bucket holds in practice; a fuller one makes the kernel ask for more room.
    let mut room = 1_024;
    let mut place = None;
    loop {
        let mut keys = vec![K::zeroed(); room];
        let mut values = vec![V::zeroed(); room];
        let (count, next, result) = lookup_batch(map, place, &mut keys, &mut values);
        let at_end = match result {
            Ok(()) => false,
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT) => true,
                Some(libc::ENOSPC) => {
                    room *= 2;
                    continue;
                }
                _ => return Err(error),
            },
        };
        for (key, value) in keys.into_iter().zip(values).take(count) {
            visit(key, value);
        }
        if at_end {
            return Ok(());
        }
        place = Some(next);
    }
}

/// One `BPF_MAP_LOOKUP_BATCH`: how many elements were read, where to go on, and how it ended.
fn lookup_batch<K: bytemuck::Pod, V: bytemuck::Pod>(
    map: &MapData,
    place: Option<u32>,
    keys: &mut [K],
    values: &mut [V],
) -> (usize, u32, io::Result<()>) {
    let mut next = 0u32;
    let room = keys.len().min(values.len());
    let mut attributes = Batch {
        in_batch: place.as_ref().map_or(0, address),
        out_batch: (&raw mut next) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: u32::try_from(room).unwrap_or(u32::MAX),
        map_fd: descriptor(map),
        element_flags: 0,
        flags: 0,
    };
    // SAFETY: the kernel writes at most `count` keys and values, which the slices have room for as
    // long as the map's sizes are those of K and V (checked by the caller's typed constructor), one
    // word to `next`, and the new count into the structure. All outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_LOOKUP_BATCH,
            &raw mut attributes,
            size_of::<Batch>(),
        )
    };
    let result = if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    };
    ((attributes.count as usize).min(room), next, result)
}

fn address<T>(value: &T) -> u64 {
    std::ptr::from_ref(value) as u64
}

fn descriptor(map: &MapData) -> u32 {
    map.fd().as_fd().as_raw_fd().cast_unsigned()
}
