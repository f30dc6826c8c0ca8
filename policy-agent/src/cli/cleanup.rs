//! `policy-agent cleanup`: takes everything out of the kernel.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use netlink_packet_route::tc::TcHandle;

use crate::datapath::{
    Attacher, DEFAULT_PIN_PATH, Hook, Mechanism, PinDir,
    chain::{self, Attachment},
};

/// Ends enforcement: removes every program, link, filter, map and pin of a pin directory
///
/// Leaves clsact qdiscs that others use. Does nothing when there is nothing. Must run in the network
/// namespace in which the agent ran; refuses while an agent runs.
#[derive(Debug, clap::Args)]
pub(super) struct CleanupArgs {
    /// The pin directory of the agent
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_PATH)]
    pin_path: PathBuf,
}

pub(super) fn run(arguments: &CleanupArgs) -> anyhow::Result<ExitCode> {
    let pins = PinDir::new(&arguments.pin_path);
    let Some(lock) = pins.lock_for_removal()? else {
        println!("nothing stands at {}", pins.path().display());
        return Ok(ExitCode::SUCCESS);
    };
    // How programs were attached does not matter for taking them off.
    let attacher = Attacher::new(pins.clone(), Mechanism::Clsact);
    let with_filters = attacher.filters()?;
    for (ifindex, hook) in attacher.records()? {
        attacher
            .detach(ifindex, hook)
            .with_context(|| format!("taking {} off interface {ifindex}", hook.program()))?;
        println!("took {} off interface {ifindex}", hook.program());
    }
    for ifindex in with_filters {
        if !is_used(ifindex)? {
            remove_clsact(ifindex)
                .with_context(|| format!("removing the clsact qdisc of interface {ifindex}"))?;
        }
    }
    pins.remove_all()?;
    println!("removed the maps and pins of {}", pins.path().display());
    pins.remove_run_files(lock)?;
    Ok(ExitCode::SUCCESS)
}

/// Whether somebody's filter stands in the interface's clsact qdisc.
fn is_used(ifindex: u32) -> anyhow::Result<bool> {
    for hook in [Hook::FromPod, Hook::ToPod] {
        let chain = chain::chain(ifindex, hook.direction())?;
        if chain
            .entries
            .iter()
            .any(|entry| entry.attachment != Attachment::Tcx)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes the qdisc; one that is gone, like its interface, is no error.
fn remove_clsact(ifindex: u32) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().context("opening netlink")?;
        tokio::spawn(connection);
        let mut request = handle.qdisc().del(ifindex.cast_signed());
        let header = &mut request.message_mut().header;
        header.parent = TcHandle::CLSACT;
        header.handle = TcHandle::from(CLSACT_HANDLE);
        match request.execute().await {
            Err(rtnetlink::Error::NetlinkError(error)) if is_gone(error.raw_code()) => Ok(()),
            other => other.map_err(Into::into),
        }
    })
}

/// `TC_H_MAKE(TC_H_CLSACT, 0)` (linux/pkt_sched.h).
const CLSACT_HANDLE: u32 = 0xffff_0000;

fn is_gone(code: i32) -> bool {
    matches!(-code, libc::ENOENT | libc::EINVAL | libc::ENODEV)
}
