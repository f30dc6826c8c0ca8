//! Which network namespace is which, for longer than a run of the agent and than the numbers by which the
//! kernel calls them.
//!
//! Owns the questions of the kernel and what their answers prove. Must not know pods or pins. Invariant:
//! nothing that lives in a namespace can change one of the answers, and what was not answered proves nothing.

#![expect(unsafe_code, reason = "getsockopt(2) and ioctl(2) take pointers")]

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::{fs::MetadataExt as _, net::UnixDatagram},
    },
    thread,
};

use nix::sched::{CloneFlags, setns};

/// Of this thread's network namespace.
const OWN: &str = "/proc/thread-self/ns/net";
/// `NS_GET_ID` (linux/nsfs.h, Linux 6.18 and later): of a network namespace it is the cookie.
const NS_GET_ID: libc::Ioctl = 0x8008_b70d_u32 as libc::Ioctl;

/// What is known of a network namespace that no other one has, or seldom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Its cookie, which no other one has before the machine starts anew; 0: not known.
    pub cookie: u64,
    /// Its inode, which another one may get when it has ended; 0: not known.
    pub inode: u64,
    /// What [`name_mark`] makes of a name of its, which only the host gives; 0: it has none, or not known.
    pub name: u64,
}

impl Mark {
    /// Of this thread's network namespace.
    ///
    /// # Errors
    /// The kernel does not say its inode.
    pub fn own() -> io::Result<Self> {
        Ok(Self {
            // Linux 5.14 and later.
            cookie: own_cookie().unwrap_or_default(),
            inode: fs::metadata(OWN)?.ino(),
            name: 0,
        })
    }

    /// Whether they are of two namespaces for certain. `names`: all that the second one has.
    pub fn is_another(&self, now: &Self, names: &[u64]) -> bool {
        let are_both = |one: fn(&Self) -> u64| one(self) != 0 && one(now) != 0;
        if are_both(|mark| mark.cookie) {
            return self.cookie != now.cookie;
        }
        let has_other_inode = are_both(|mark| mark.inode) && self.inode != now.inode;
        has_other_inode || self.name != 0 && !names.is_empty() && !names.contains(&self.name)
    }
}

/// A number for a name of a namespace; never 0.
pub fn name_mark(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.max(1)
}

/// Which start of the machine this is.
///
/// # Errors
/// The kernel does not say.
pub fn boot_id() -> io::Result<u128> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: String = text.trim().chars().filter(|one| *one != '-').collect();
    u128::from_str_radix(&digits, 16).map_err(io::Error::other)
}

/// How the cookies of other namespaces than this thread's are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    /// The file says it.
    File,
    /// A socket that is made there: needs `CAP_SYS_ADMIN`.
    Inside,
    /// They cannot be found.
    Never,
}

impl Asking {
    /// As this thread may.
    pub(crate) fn here() -> Self {
        let Ok(own) = own_cookie() else {
            return Self::Never;
        };
        if File::open(OWN).is_ok_and(|file| cookie_of_file(&file).is_ok_and(|found| found == own)) {
            return Self::File;
        }
        let may_enter = File::open(OWN).is_ok_and(|file| cookie_inside(&file) == Some(own));
        if may_enter { Self::Inside } else { Self::Never }
    }

    /// The cookie of the namespace that a file leads to; 0: it cannot be found.
    pub(crate) fn cookie(self, file: &File) -> u64 {
        match self {
            Self::File => cookie_of_file(file).unwrap_or_default(),
            Self::Inside => cookie_inside(file).unwrap_or_default(),
            Self::Never => 0,
        }
    }
}

/// The cookie of this thread's network namespace.
///
/// # Errors
/// The kernel has none (before Linux 5.14).
pub(crate) fn own_cookie() -> io::Result<u64> {
    cookie_of_socket(UnixDatagram::unbound()?.as_raw_fd())
}

/// From a thread that goes there and ends there.
fn cookie_inside(file: &File) -> Option<u64> {
    let ask = || {
        setns(file, CloneFlags::CLONE_NEWNET).ok()?;
        own_cookie().ok()
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("inside".into());
        thread.spawn_scoped(scope, ask).ok()?.join().ok()?
    })
}

fn cookie_of_file(file: &File) -> io::Result<u64> {
    let mut cookie = 0_u64;
    // SAFETY: the kernel writes eight bytes to the pointer, which is of a live variable of that size.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_ID, &raw mut cookie) };
    if result == 0 {
        Ok(cookie)
    } else {
        Err(io::Error::last_os_error())
    }
}

fn cookie_of_socket(socket: RawFd) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: both pointers are of live variables, and the length is that of the first.
    let result = unsafe {
        libc::getsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(cookie)
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(cookie: u64, inode: u64, name: u64) -> Mark {
        Mark {
            cookie,
            inode,
            name,
        }
    }

    #[test]
    fn a_cookie_says_which_namespace_it_is_whatever_else_is_alike() {
        assert!(mark(1, 7, 9).is_another(&mark(2, 7, 9), &[9]));
        assert!(!mark(1, 7, 9).is_another(&mark(1, 8, 5), &[5]));
    }

    #[test]
    fn without_a_cookie_another_inode_or_another_name_proves_another_namespace() {
        assert!(mark(0, 7, 9).is_another(&mark(2, 8, 9), &[9]));
        assert!(mark(1, 7, 9).is_another(&mark(0, 7, 5), &[5, 6]));
        assert!(
            !mark(0, 7, 9).is_another(&mark(0, 7, 5), &[5, 9]),
            "it has both"
        );
    }

    #[test]
    fn what_nobody_answered_proves_nothing() {
        assert!(!mark(0, 7, 9).is_another(&mark(0, 7, 0), &[]));
        assert!(!mark(0, 0, 0).is_another(&mark(2, 8, 9), &[9]));
        assert!(!mark(1, 7, 9).is_another(&mark(0, 0, 0), &[]));
        assert!(
            !mark(0, 7, 0).is_another(&mark(0, 7, 5), &[5]),
            "it had no name"
        );
    }

    #[test]
    fn each_way_to_a_cookie_finds_the_same_one() {
        let own = own_cookie().unwrap();
        let file = File::open(OWN).unwrap();
        assert_eq!(cookie_inside(&file), Some(own));
        assert_eq!(Asking::here().cookie(&file), own);
        let elsewhere = thread::spawn(|| {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
            (own_cookie().unwrap(), File::open(OWN).unwrap())
        });
        let (theirs, file) = elsewhere.join().unwrap();
        assert_ne!(theirs, own);
        for asking in [Asking::here(), Asking::Inside] {
            assert_eq!(asking.cookie(&file), theirs, "{asking:?}");
        }
        assert_eq!(
            own_cookie().unwrap(),
            own,
            "this thread stayed where it was"
        );
    }

    #[test]
    fn the_start_of_the_machine_stays_the_same() {
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
        assert_ne!(boot_id().unwrap(), 0);
    }
}
