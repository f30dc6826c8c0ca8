//! The subcommands, one file each: arguments in, exit status out.

pub mod lint;
