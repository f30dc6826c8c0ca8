//! This thread's network namespace, by the number that programs see too.

#![expect(unsafe_code, reason = "getsockopt(2) takes pointers")]

use std::{
    io,
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::net::UnixDatagram,
    },
};

use aya::{
    programs::{ProgramError, ProgramType},
    sys::{BpfHelper, is_helper_supported},
};

/// The namespace could not be told.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The kernel did not say whether programs may ask.
    #[error("probing bpf_get_netns_cookie")]
    Probe(#[from] ProgramError),
    /// A socket did not say where it belongs.
    #[error("asking a socket for its network namespace")]
    Ask(#[from] io::Error),
}

/// The cookie of this thread's network namespace; 0 where TC programs cannot ask for a socket's
/// (before Linux 6.15 or so).
///
/// # Errors
/// The kernel refuses to load the probe, or to say the cookie.
pub(crate) fn cookie() -> Result<u64, NetnsError> {
    let may_ask = is_helper_supported(
        ProgramType::SchedClassifier,
        BpfHelper::BPF_FUNC_get_netns_cookie,
    )?;
    if !may_ask {
        return Ok(0);
    }
    Ok(cookie_of(UnixDatagram::unbound()?.as_raw_fd())?)
}

fn cookie_of(socket: RawFd) -> io::Result<u64> {
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
