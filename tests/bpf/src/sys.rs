//! The calls of bpf(2) that the bench needs: its own programs and maps, and repeated test runs.
//!
//! Owns all unsafe code of the bench's BPF part. Callers see slices and descriptors.
#![expect(unsafe_code, reason = "bpf(2) takes pointers")]

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use super::assemble::Instruction;

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_MAP_GET_NEXT_ID: libc::c_long = 12;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;

/// Type of a hash table.
pub(super) const HASH: u32 = 1;
/// Type of an array.
pub(super) const ARRAY: u32 = 2;
/// Type of an array of programs to go on in.
pub(super) const PROGRAM_ARRAY: u32 = 3;
const SCHED_CLS: u32 = 3;

const LICENSE: &std::ffi::CStr = c"Apache-2.0";
/// Room for the verifier's reason.
const LOG_SIZE: usize = 1 << 16;

/// The start of `union bpf_attr` as `BPF_PROG_LOAD` reads it.
#[repr(C)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
}

/// The start of `union bpf_attr` as `BPF_MAP_CREATE` reads it.
#[repr(C)]
struct Create {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

/// `union bpf_attr` as `BPF_MAP_UPDATE_ELEM` reads it.
#[repr(C)]
struct Update {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `union bpf_attr` as `BPF_PROG_TEST_RUN` reads and writes it.
#[repr(C)]
#[derive(Default)]
struct Test {
    program: u32,
    returned: u32,
    data_in_size: u32,
    data_out_size: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_in_size: u32,
    context_out_size: u32,
    context_in: u64,
    context_out: u64,
}

/// What the bench reads of `struct bpf_prog_info`; later fields are newer than Linux 5.16.
#[repr(C)]
#[derive(Default)]
pub(super) struct ProgramInfo {
    kind: [u32; 2],
    tag: [u8; 8],
    /// Bytes of machine code.
    pub(super) jited_bytes: u32,
    /// Bytes of instructions.
    pub(super) translated_bytes: u32,
    jited: u64,
    translated: u64,
    loaded_at: u64,
    user: u32,
    map_count: u32,
    maps: u64,
    name: [u8; 16],
    ifindex: u32,
    flags: u32,
    netns: [u64; 2],
    jited_counts: [u32; 2],
    jited_lists: [u64; 2],
    btf: [u32; 2],
    functions: u64,
    function_count: u32,
    line_count: u32,
    lines: u64,
    jited_lines: u64,
    line_counts: [u32; 4],
    tags: u64,
    runs: [u64; 3],
    /// Instructions that the verifier processed; 0 where the kernel does not tell.
    pub(super) verified: u32,
    attached: [u32; 2],
    padding: u32,
}

/// `union bpf_attr` as `BPF_OBJ_GET_INFO_BY_FD` reads it.
#[repr(C)]
struct GetInfo {
    descriptor: u32,
    size: u32,
    info: u64,
}

/// `union bpf_attr` as `BPF_MAP_GET_NEXT_ID` reads and writes it.
#[repr(C)]
#[derive(Default)]
struct NextId {
    start: u32,
    next: u32,
    open_flags: u32,
}

/// The lowest id of a map above this one.
pub(super) fn next_map_id(start: u32) -> io::Result<Option<u32>> {
    let mut attributes = NextId {
        start,
        ..NextId::default()
    };
    // SAFETY: the kernel reads and writes the structure and nothing else.
    match unsafe { call(BPF_MAP_GET_NEXT_ID, &mut attributes) } {
        Ok(_) => Ok(Some(attributes.next)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the kernel says of a program, and its instructions as far as there is room for them.
pub(super) fn program_info(
    program: RawFd,
    instructions: &mut [Instruction],
) -> io::Result<ProgramInfo> {
    let mut info = ProgramInfo {
        translated_bytes: u32::try_from(size_of_val(instructions)).map_err(io::Error::other)?,
        translated: instructions.as_mut_ptr() as u64,
        ..ProgramInfo::default()
    };
    let mut attributes = GetInfo {
        descriptor: program.cast_unsigned(),
        size: size_of::<ProgramInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: the kernel writes at most `size` bytes of the structure, and at most as many bytes of
    // instructions as it reads there; any bytes are an instruction.
    unsafe { call(BPF_OBJ_GET_INFO_BY_FD, &mut attributes) }?;
    Ok(info)
}

/// Loads a classifier; the error holds the verifier's log.
pub(super) fn load_classifier(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    let mut log = vec![0u8; LOG_SIZE];
    let mut attributes = Load {
        program_type: SCHED_CLS,
        instruction_count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        instructions: instructions.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        log_level: 1,
        log_size: LOG_SIZE as u32,
        log: log.as_mut_ptr() as u64,
    };
    // SAFETY: the structure is as long as its type; the kernel reads as many instructions as there
    // are and the string that ends with zero, and writes at most `log_size` bytes of the log.
    let result = unsafe { call(BPF_PROG_LOAD, &mut attributes) };
    owned(result.map_err(|error| {
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(LOG_SIZE);
        let reason = String::from_utf8_lossy(&log[..end]).into_owned();
        io::Error::new(error.kind(), format!("{error}: {reason}"))
    })?)
}

/// Makes a map of one entry with a key of four bytes.
pub(super) fn one_entry(map_type: u32, value_size: usize) -> io::Result<OwnedFd> {
    map(map_type, size_of::<u32>(), value_size, 1)
}

/// Makes a map.
pub(super) fn map(
    map_type: u32,
    key_size: usize,
    value_size: usize,
    max_entries: u32,
) -> io::Result<OwnedFd> {
    let mut attributes = Create {
        map_type,
        key_size: u32::try_from(key_size).map_err(io::Error::other)?,
        value_size: u32::try_from(value_size).map_err(io::Error::other)?,
        max_entries,
    };
    // SAFETY: the kernel reads the structure and nothing else.
    owned(unsafe { call(BPF_MAP_CREATE, &mut attributes) }?)
}

/// Writes the entry of a map that [`one_entry`] made with `value.len()`.
pub(super) fn set(map: BorrowedFd<'_>, value: &[u8]) -> io::Result<()> {
    update(map, &0u32.to_ne_bytes(), value)
}

/// Writes an entry of a map that [`map`] made with `key.len()` and `value.len()`.
pub(super) fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut attributes = Update {
        map: map.as_raw_fd().cast_unsigned(),
        padding: 0,
        key: key.as_ptr() as u64,
        value: value.as_ptr() as u64,
        flags: 0,
    };
    // SAFETY: the kernel reads a key and a value of the map's sizes, which are the slices' for every
    // map that this part of the bench makes.
    unsafe { call(BPF_MAP_UPDATE_ELEM, &mut attributes) }.map(drop)
}

/// Runs a classifier `repeat` times on one packet with one context; what it returned last.
pub(super) fn test_run(
    program: BorrowedFd<'_>,
    packet: &[u8],
    context: &[u8],
    repeat: u32,
) -> io::Result<i32> {
    let mut attributes = Test {
        program: program.as_raw_fd().cast_unsigned(),
        data_in_size: u32::try_from(packet.len()).map_err(io::Error::other)?,
        data_in: packet.as_ptr() as u64,
        repeat,
        context_in_size: u32::try_from(context.len()).map_err(io::Error::other)?,
        context_in: context.as_ptr() as u64,
        ..Test::default()
    };
    // SAFETY: the kernel reads as many bytes of the packet and of the context as they are long,
    // and writes only into the structure.
    unsafe { call(BPF_PROG_TEST_RUN, &mut attributes) }?;
    Ok(attributes.returned.cast_signed())
}

/// # Safety
/// All addresses in `attributes` must be good for what the command does with them.
unsafe fn call<T>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads and writes at most as many bytes of the structure as it is long;
    // the rest is the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

fn owned(descriptor: libc::c_long) -> io::Result<OwnedFd> {
    let descriptor = i32::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: a successful call returned a descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
