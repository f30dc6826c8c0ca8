//! This thread's network namespace, by the number that programs see too.

use std::io;

use aya::{
    programs::{ProgramError, ProgramType},
    sys::{BpfHelper, is_helper_supported},
};

use crate::netns::own_cookie;

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
    Ok(own_cookie()?)
}
