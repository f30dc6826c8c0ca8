#![no_std]
//! The packet parser and the verdict logic.
