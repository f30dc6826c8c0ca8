//! The kernel's clock as the programs read it.

use std::{io, os::fd::OwnedFd};

use super::sys;

/// Reads jiffies by running the object's program for it.
#[derive(Debug)]
pub(crate) struct Clock {
    program: OwnedFd,
}

/// The smallest packet that a test run takes: an Ethernet header.
const PACKET: [u8; 14] = [0; 14];

impl Clock {
    /// Takes a handle of the loaded program.
    pub(crate) fn new(program: OwnedFd) -> Self {
        Self { program }
    }

    /// The low half of jiffies.
    pub(crate) fn now(&self) -> io::Result<u32> {
        sys::test_run(&self.program, &PACKET)
    }
}
