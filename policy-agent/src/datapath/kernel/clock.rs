//! The kernel's clock as the programs read it.

use std::{io, os::fd::OwnedFd};

use super::sys;

/// Reads jiffies by running the object's program for it.
#[derive(Debug)]
pub(crate) struct Clock {
    program: OwnedFd,
}

/// The smallest packet that a test run takes, an Ethernet header, asks for the low half of jiffies; one
/// byte more asks for the high half.
const PACKET: [u8; 15] = [0; 15];
const LOW: usize = 14;

impl Clock {
    /// Takes a handle of the loaded program.
    pub(crate) fn new(program: OwnedFd) -> Self {
        Self { program }
    }

    /// Jiffies.
    pub(crate) fn now(&self) -> io::Result<u64> {
        loop {
            let high = sys::test_run(&self.program, &PACKET)?;
            let low = sys::test_run(&self.program, &PACKET[..LOW])?;
            // The low half may have wrapped between the two runs.
            if sys::test_run(&self.program, &PACKET)? == high {
                return Ok(u64::from(high) << 32 | u64::from(low));
            }
        }
    }
}
