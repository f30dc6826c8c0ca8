//! Capabilities of processes, as /proc shows them (capabilities(7)).

use std::fs;

/// The capabilities that a process can use, by their numbers in linux/capability.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Effective(u64);

impl Effective {
    /// Names interfaces, attaches programs.
    pub(crate) const NET_ADMIN: u32 = 12;
    /// What includes nearly all others.
    pub(crate) const SYS_ADMIN: u32 = 21;

    /// Those of this process.
    pub(crate) fn own() -> Option<Self> {
        Self::read("self")
    }

    /// Those of another one, in this process namespace.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        Self::read(&pid.to_string())
    }

    fn read(process: &str) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{process}/status")).ok()?)
    }

    /// From the text of a `status` file (proc_pid_status(5)).
    pub(crate) fn parse(status: &str) -> Option<Self> {
        let set = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(set.trim(), 16).ok().map(Self)
    }

    /// Whether one is among them.
    pub(crate) const fn has(self, capability: u32) -> bool {
        self.0 >> capability & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_read_from_the_text_that_the_kernel_writes() {
        let docker = Effective::parse("Name:\tx\nCapPrm:\t0\nCapEff:\t00000000a80425fb\n").unwrap();
        assert!(!docker.has(Effective::NET_ADMIN) && !docker.has(Effective::SYS_ADMIN));
        let root = Effective::parse("CapEff:\t000001ffffffffff\n").unwrap();
        assert!(root.has(Effective::NET_ADMIN) && root.has(Effective::SYS_ADMIN));
        assert_eq!(Effective::parse("CapEff:\tall\n"), None);
        assert_eq!(Effective::parse(""), None);
    }
}
