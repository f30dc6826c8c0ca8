//! Somebody else's TC program: stands before or after ours, returns what it likes, forges stamps.
#![expect(unsafe_code, reason = "bpf(2) takes pointers")]

use std::{
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use aya::programs::{
    LinkOrder, SchedClassifier, TcAttachType, TcError,
    tc::{NlOptions, SchedClassifierLink, TcAttachOptions, qdisc_add_clsact},
};

use super::netns::{Handle, Netns};

/// Where programs are pinned: the kernel lists them by id, aya opens them by path.
const PINS: &str = "/sys/fs/bpf";

/// `BPF_PROG_LOAD`, `BPF_OBJ_PIN`, `BPF_PROG_TYPE_SCHED_CLS` (linux/bpf.h).
const PROG_LOAD: libc::c_int = 5;
const OBJ_PIN: libc::c_int = 6;
const SCHED_CLS: u32 = 3;

/// Offset of `tc_index` in `struct __sk_buff`.
const TC_INDEX: i16 = 44;

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// TCX, before all others.
    TcxFirst,
    /// TCX, after all others.
    TcxLast,
    /// A clsact filter of this preference; the qdisc is made when there is none.
    Clsact(u16),
}

/// A program of a few instructions.
#[derive(Debug)]
pub struct Foreign {
    program: SchedClassifier,
    id: u32,
}

impl Foreign {
    /// A program that returns `action` (`TC_ACT_*`). `name` is at most 15 bytes long.
    pub fn returning(name: &str, action: i32) -> Result<Self> {
        Self::load(name, &returning(action))
    }

    /// A program that writes `value` to `skb->tc_index` and returns `action`.
    pub fn stamping(name: &str, value: u16, action: i32) -> Result<Self> {
        // r2 = value; *(u32 *)(r1 + TC_INDEX) = r2
        let mut code = vec![
            instruction(0xb7, 2, 0, 0, i32::from(value)),
            instruction(0x63, 1, 2, TC_INDEX, 0),
        ];
        code.extend(returning(action));
        Self::load(name, &code)
    }

    fn load(name: &str, code: &[u64]) -> Result<Self> {
        let loaded = prog_load(name, code).context("cannot load a program")?;
        let path = Path::new(PINS).join(format!("{name}-{}", loaded.as_raw_fd()));
        let path = unique(path);
        pin(&loaded, &path).with_context(|| format!("cannot pin at {}", path.display()))?;
        let program = SchedClassifier::from_pin(&path);
        fs::remove_file(&path)?;
        let program = program?;
        let id = program.info()?.id();
        Ok(Self { program, id })
    }

    /// The kernel's id of the program.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Attaches to an interface inside a namespace, until the returned value is dropped.
    pub fn attach(
        &mut self,
        netns: &Netns,
        interface: &str,
        hook: TcAttachType,
        place: Place,
    ) -> Result<Attached> {
        let program = &mut self.program;
        let attached = netns.run(|| -> Result<_> {
            let options = match place {
                Place::TcxFirst => TcAttachOptions::TcxOrder(LinkOrder::first()),
                Place::TcxLast => TcAttachOptions::TcxOrder(LinkOrder::last()),
                Place::Clsact(priority) => {
                    clsact(interface)?;
                    TcAttachOptions::Netlink(NlOptions {
                        priority,
                        ..NlOptions::default()
                    })
                }
            };
            let link = program.attach_with_options(interface, hook, options)?;
            Ok(program.take_link(link)?)
        })?;
        Ok(Attached {
            link: Some(attached.with_context(|| format!("{interface}, {place:?}"))?),
            netns: netns.handle(),
        })
    }
}

fn clsact(interface: &str) -> Result<()> {
    match qdisc_add_clsact(interface) {
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        result => Ok(result?),
    }
}

/// An attached program.
#[derive(Debug)]
pub struct Attached {
    link: Option<SchedClassifierLink>,
    netns: Handle,
}

impl Drop for Attached {
    fn drop(&mut self) {
        let link = self.link.take();
        // A filter is detached by its interface's index, which means another one elsewhere.
        if let Err(error) = self.netns.run(|| drop(link)) {
            eprintln!("a program stays attached: {error:#}");
        }
    }
}

/// r0 = action; exit
fn returning(action: i32) -> [u64; 2] {
    [
        instruction(0xb7, 0, 0, 0, action),
        instruction(0x95, 0, 0, 0, 0),
    ]
}

/// One `struct bpf_insn`.
fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> u64 {
    let [low, high] = offset.to_ne_bytes();
    let [a, b, c, d] = immediate.to_ne_bytes();
    u64::from_ne_bytes([code, destination | (source << 4), low, high, a, b, c, d])
}

fn unique(path: PathBuf) -> PathBuf {
    let mut unique = path.into_os_string();
    unique.push(format!("-{}", std::process::id()));
    unique.into()
}

/// The part of `union bpf_attr` that BPF_PROG_LOAD reads.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

/// The part of `union bpf_attr` that BPF_OBJ_PIN reads.
#[repr(C)]
struct PinAttributes {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

fn prog_load(name: &str, code: &[u64]) -> io::Result<OwnedFd> {
    let mut attributes = LoadAttributes {
        prog_type: SCHED_CLS,
        insn_cnt: u32::try_from(code.len()).map_err(io::Error::other)?,
        insns: code.as_ptr().addr() as u64,
        license: c"GPL".as_ptr().addr() as u64,
        ..LoadAttributes::default()
    };
    for (to, from) in attributes.prog_name.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: the pointers in the attributes are of memory that outlives the call.
    let fd = unsafe { bpf(PROG_LOAD, &attributes) }?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn pin(program: &OwnedFd, path: &Path) -> io::Result<()> {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    let attributes = PinAttributes {
        pathname: path.as_ptr().addr() as u64,
        bpf_fd: program.as_raw_fd().cast_unsigned(),
        file_flags: 0,
    };
    // SAFETY: the path outlives the call.
    unsafe { bpf(OBJ_PIN, &attributes) }.map(drop)
}

/// # Safety
/// `attributes` is what `command` reads, and the memory to which it points outlives the call.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    let size = size_of::<T>();
    // SAFETY: promised by the caller.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    libc::c_int::try_from(result).map_err(io::Error::other)
}
