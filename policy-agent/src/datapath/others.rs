//! Other agents of this machine: their pin directories, and programs of theirs on interfaces here.
//!
//! Changes nothing. Tells an agent's programs by their names, and whose they are by the kernel's ids
//! behind the pins. Invariant: what a directory's own agent attaches or replaces meanwhile is not
//! taken for another's.

use std::collections::{BTreeMap, BTreeSet};

use aya::programs::{
    ProgramInfo,
    links::{FdLink, PinnedLink},
};
use serde::{Deserialize, Serialize};

use super::{
    hooks::{
        Hook,
        chain::{ChainError, chain},
    },
    pins::{PinDir, PinDirError, entries},
};

/// What other agents have here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherAgents {
    /// Pin directories on the BPF file system.
    pub pin_paths: Vec<OtherPins>,
    /// Programs on interfaces of this network namespace.
    pub programs: Vec<OtherProgram>,
}

/// A pin directory of another agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherPins {
    /// The directory.
    pub path: String,
    /// The process that holds it; `null`: none that is seen from here.
    pub process: Option<String>,
}

/// A program of another agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OtherProgram {
    /// The interface's name.
    pub interface: String,
    /// The program's name.
    pub program: String,
    /// The kernel's id of the program.
    pub prog_id: u32,
    /// The pin directory that has it; `null`: none that is seen from here.
    pub pin_path: Option<String>,
}

/// Other agents cannot be looked for.
#[derive(Debug, thiserror::Error)]
pub enum OthersError {
    /// The programs of an interface cannot be listed.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Pin directories cannot be read.
    #[error(transparent)]
    Pins(#[from] PinDirError),
}

/// Everything of other agents than that of a pin directory; `None`: of all agents.
///
/// # Errors
/// Interfaces or pin directories cannot be read.
pub fn other_agents(own: Option<&PinDir>) -> Result<OtherAgents, OthersError> {
    let before = own.map(programs).transpose()?.unwrap_or_default();
    let mut found = attached()?;
    // What is replaced meanwhile was there before, or is there now.
    let after = own.map(programs).transpose()?.unwrap_or_default();
    found.retain(|one| !before.contains(&one.prog_id) && !after.contains(&one.prog_id));
    let mut others = OtherAgents {
        pin_paths: Vec::new(),
        programs: found.into_iter().collect(),
    };
    let is_own = |pins: &PinDir| own.is_some_and(|own| own.is_same(pins));
    for pins in PinDir::all()?.into_iter().filter(|pins| !is_own(pins)) {
        let path = pins.path().display().to_string();
        let ids = programs(&pins)?;
        let theirs = others.programs.iter_mut();
        for program in theirs.filter(|program| ids.contains(&program.prog_id)) {
            program.pin_path = Some(path.clone());
        }
        others.pin_paths.push(OtherPins {
            path,
            process: pins.holder(),
        });
    }
    Ok(others)
}

/// Programs with an agent's names on the interfaces of this network namespace.
fn attached() -> Result<BTreeSet<OtherProgram>, ChainError> {
    let mut found = BTreeSet::new();
    let interfaces = nix::net::if_::if_nameindex();
    let names: BTreeMap<u32, String> = interfaces
        .iter()
        .flatten()
        .map(|one| (one.index(), one.name().to_string_lossy().into_owned()))
        .collect();
    for (ifindex, name) in names {
        for hook in [Hook::FromPod, Hook::ToPod] {
            for entry in chain(ifindex, hook.direction())?.entries {
                let is_ours = Hook::ALL.iter().any(|ours| ours.program() == entry.name);
                if let (true, Some(prog_id)) = (is_ours, entry.prog_id) {
                    found.insert(OtherProgram {
                        interface: name.clone(),
                        program: entry.name,
                        prog_id,
                        pin_path: None,
                    });
                }
            }
        }
    }
    Ok(found)
}

/// The kernel's ids of the programs behind a directory's pins. One that goes away meanwhile is left
/// out.
fn programs(pins: &PinDir) -> Result<BTreeSet<u32>, PinDirError> {
    let mut ids = BTreeSet::new();
    for pin in entries(&pins.links())? {
        let link = PinnedLink::from_pin(&pin).map(FdLink::from).ok();
        let info = link.and_then(|link| link.info().ok());
        ids.extend(info.map(|info| info.program_id()));
    }
    for pin in entries(&pins.filters())? {
        ids.extend(ProgramInfo::from_pin(&pin).map(|info| info.id()));
    }
    Ok(ids)
}
