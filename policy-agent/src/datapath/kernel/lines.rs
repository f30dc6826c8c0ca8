//! Arrays of cache lines that this process writes while programs read them.
//!
//! Owns the mappings of such maps (`BPF_F_MMAPABLE`, Linux 5.5 and later). A system call would copy a
//! whole element, in whatever pieces; here each word is written at once.
#![expect(unsafe_code, reason = "mmap(2) gives a pointer")]

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering},
};

use aya::{
    Ebpf,
    maps::{Map, MapError},
};
use policy_ebpf::lines::{WORDS, table::Lines};

use super::part::{PartError, open_untyped};

/// A mapped array of lines.
#[derive(Debug)]
pub(crate) struct SharedLines {
    lines: NonNull<[AtomicU64; WORDS]>,
    count: u32,
}

// SAFETY: the memory belongs to the value until it is dropped, whichever thread that is in.
unsafe impl Send for SharedLines {}

impl SharedLines {
    /// Maps an array of a loaded object.
    pub(crate) fn of(ebpf: &Ebpf, name: &'static str) -> Result<Self, PartError> {
        let map = open_untyped(ebpf, name)?;
        Self::map(&map).map_err(|source| PartError::Map { name, source })
    }

    fn map(map: &Map) -> Result<Self, MapError> {
        let Map::Array(data) = map else {
            return Err(MapError::InvalidMapType { map_type: 0 });
        };
        let info = data.info()?;
        let line = u32::try_from(size_of::<[u64; WORDS]>()).unwrap_or(u32::MAX);
        if info.value_size() != line {
            return Err(MapError::InvalidValueSize {
                size: size_of::<[u64; WORDS]>(),
                expected: info.value_size() as usize,
            });
        }
        let count = info.max_entries();
        // SAFETY: no address is asked for, so that no other mapping is replaced; the kernel refuses a
        // length beyond the map. The mapping outlives the descriptor.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                Self::bytes(count),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                data.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(MapError::IoError(io::Error::last_os_error()));
        }
        let lines = NonNull::new(address.cast());
        let lines =
            lines.ok_or_else(|| MapError::IoError(io::ErrorKind::AddrNotAvailable.into()))?;
        Ok(Self { lines, count })
    }

    const fn bytes(count: u32) -> usize {
        count as usize * size_of::<[u64; WORDS]>()
    }

    fn words(&self, line: u32) -> &[AtomicU64; WORDS] {
        assert!(line < self.count, "a line of the table");
        // SAFETY: the mapping has this line, for as long as `self` lives; programs only read it, and
        // only the owner of `self` writes it.
        unsafe { self.lines.add(line as usize).as_ref() }
    }
}

impl Lines for SharedLines {
    fn count(&self) -> u32 {
        self.count
    }

    fn line(&self, line: u32) -> [u64; WORDS] {
        self.words(line)
            .each_ref()
            .map(|word| word.load(Ordering::Relaxed))
    }

    fn store(&mut self, line: u32, index: usize, word: u64) {
        self.words(line)[index].store(word, Ordering::Release);
    }
}

impl Drop for SharedLines {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's, and nobody has a reference into it.
        unsafe { libc::munmap(self.lines.as_ptr().cast(), Self::bytes(self.count)) };
    }
}
