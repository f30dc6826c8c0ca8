#![no_std]
//! Plain-old-data shared by the kernel programs and user space.
