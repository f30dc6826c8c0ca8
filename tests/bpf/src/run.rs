//! Timed runs of a program on one packet.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    time::{Duration, Instant},
};

use super::sys;

/// A program with what it is run on.
#[derive(Debug)]
pub struct Run {
    program: OwnedFd,
    packet: Vec<u8>,
    context: Vec<u8>,
}

impl Run {
    /// A program with what it is run on: a frame, and the start of `struct __sk_buff`.
    pub fn new(program: OwnedFd, packet: &[u8], context: &[u8]) -> Self {
        Self {
            program,
            packet: packet.to_vec(),
            context: context.to_vec(),
        }
    }

    /// Runs it `repeat` times inside the kernel: what it returned last, and how long the call took.
    ///
    /// The caller's clock, not the kernel's `duration`: that is an average in whole nanoseconds.
    /// Entering the kernel and copying the packet takes a microsecond or two, the same for every
    /// program: with thousands of repeats it is nothing, and the empty program pays it too.
    ///
    /// # Errors
    /// The kernel refuses the frame or the context.
    pub fn repeat(&self, repeat: u32) -> io::Result<(i32, Duration)> {
        let began = Instant::now();
        let returned = sys::test_run(self.program.as_fd(), &self.packet, &self.context, repeat)?;
        Ok((returned, began.elapsed()))
    }
}
