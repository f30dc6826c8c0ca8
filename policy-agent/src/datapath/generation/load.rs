//! Loads the object: maps of the wanted sizes, the configuration, the programs.
//!
//! Owns what a generation of the datapath consists of; must not know interfaces or policy.
//! Invariant: loading changes nothing that is enforced – a new generation stands beside the old
//! one until its pins replace the old pins and its links are moved.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use aya::{Ebpf, EbpfLoader, maps::MapInfo};
use policy_common::{
    Block, Config, Counter, Flow, FlowCounts, FragmentPorts, LAYOUT_VERSION, NodeState, Recent,
    names,
};

use super::{
    super::{
        kernel::{abi::Abi, hz, netns, part::PartError, table::TableError},
        pins::{PinDir, PinDirError, Pins},
    },
    calls,
    carry::{Before, PREVIOUS},
    failure::Failure,
    object,
    sizes::TableSizes,
    verify,
};

/// Loading failed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The binary carries no object.
    #[error("built without the eBPF object: run `cargo xtask build-ebpf`, then build again")]
    NoObject,
    /// The kernel or the loader refused the object.
    #[error("loading the eBPF object")]
    Object(#[from] aya::EbpfError),
    /// A part of the object is not as expected.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The host's network namespace could not be told.
    #[error("finding out which sockets are this host's")]
    Netns(#[from] netns::NetnsError),
    /// The kernel's HZ could not be measured.
    #[error("measuring the kernel's HZ")]
    Hz(#[from] hz::HzError),
    /// The kernel's clock could not be read.
    #[error("reading the kernel's clock")]
    Clock(#[source] std::io::Error),
    /// A table could not be prepared.
    #[error("preparing the tables")]
    Table(#[from] TableError),
    /// Something of what is wanted was not written.
    #[error("filling the tables")]
    Fill(#[from] Failure),
    /// The pins of the generation before could not be replaced.
    #[error(transparent)]
    Pins(#[from] PinDirError),
}

/// Whose sockets are the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostSockets {
    /// Those of the network namespace in which the thread loads, where programs can ask.
    Here,
    /// All: for tests that use one generation in the namespaces of several hosts.
    Anywhere,
}

/// How to load a generation.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions<'a> {
    /// The object; [`LoadOptions::embedded`] takes the one in this binary.
    pub object: &'a [u8],
    /// What the programs are told; `hz` is measured and overwritten unless it is set here.
    pub config: Config,
    /// `None`: measure the kernel's HZ.
    pub hz: Option<u32>,
    /// Sizes of the tables.
    pub sizes: TableSizes,
    /// The pin directory: its kept maps (flows, counts, node state) are used again where they fit.
    /// `None`: private to this process.
    pub pins: Option<&'a Pins>,
    /// Whose sockets are the host's.
    pub host_sockets: HostSockets,
    /// Load also what [`Attacher::bridge`](super::super::Attacher::bridge) needs, after all else: the kernel takes as long
    /// for it as for the rest.
    pub stand_ins: bool,
    /// Set while the rest is loaded: what bridges need is not wanted after all.
    pub needless: Option<&'a AtomicBool>,
}

impl LoadOptions<'static> {
    /// The embedded object with the default configuration, private to this process.
    ///
    /// # Errors
    /// [`LoadError::NoObject`].
    pub fn embedded() -> Result<Self, LoadError> {
        Ok(Self {
            object: object::EMBEDDED.ok_or(LoadError::NoObject)?,
            config: Config::DEFAULT,
            hz: None,
            sizes: TableSizes::default(),
            pins: None,
            host_sockets: HostSockets::Here,
            stand_ins: false,
            needless: None,
        })
    }
}

impl LoadOptions<'_> {
    /// What the programs are told: half of the capacity is divided among as many endpoints as there may
    /// be, the other half is shared. Flows of both families count together, so that either table has
    /// room for all of them.
    pub(crate) fn config(&self, hz: u32) -> Config {
        let TableSizes {
            max_flows,
            max_endpoints,
            ..
        } = self.sizes;
        let own_flows = max_flows / 2 / max_endpoints.max(1);
        let shared = max_flows - own_flows * max_endpoints;
        let flow_grant = (shared / 2_048).clamp(1, 64);
        // Every processor may grant the last ones at once.
        let slack = flow_grant.saturating_mul(processors());
        Config {
            hz,
            own_flows,
            shared_flows: shared.saturating_sub(slack),
            flow_grant,
            lines_v4: self.sizes.lines_v4(),
            lines_v6: self.sizes.lines_v6(),
            rule_lines: self.sizes.rule_lines(),
            blocks: self.sizes.blocks(),
            ..self.config
        }
    }
}

fn processors() -> u32 {
    thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1))
}

/// The HZ that the programs are told.
pub(crate) fn hz(options: &LoadOptions<'_>) -> Result<u32, LoadError> {
    match options.hz {
        Some(hz) => Ok(hz),
        None => {
            let entries = TableSizes::default().entries();
            hz::measure(options.object, entries.into_keys()).map_err(Into::into)
        }
    }
}

/// The object with its maps and programs.
pub(crate) struct Object {
    pub(crate) ebpf: Ebpf,
    /// Where the flows of the generation before are.
    pub(crate) before: Before,
    /// The maps that it shares with that one.
    pub(crate) reused: Vec<&'static str>,
}

/// Loads the object.
pub(crate) fn load(options: &LoadOptions<'_>, hz: u32) -> Result<Object, LoadError> {
    let entries = options.sizes.entries();
    let reused = options
        .pins
        .map(|pins| reusable(pins, &entries))
        .unwrap_or_default();
    let before = options
        .pins
        .map_or(Before::Nowhere, |pins| Before::of(pins, &reused));
    let config = Abi(Config {
        has_previous_flows: u8::from(before == Before::Beside),
        netns_cookie: match options.host_sockets {
            HostSockets::Here => netns::cookie()?,
            HostSockets::Anywhere => 0,
        },
        ..options.config(hz)
    });
    let mut loader = EbpfLoader::new();
    loader.override_global(Config::SYMBOL, &config, true);
    for (name, size) in &entries {
        loader.map_max_entries(name, *size);
    }
    if let Some(pins) = options.pins {
        for name in &reused {
            loader.map_pin_path(name, pins.path().join(name));
        }
        if before == Before::Beside {
            for (name, previous) in PREVIOUS {
                loader.map_pin_path(previous, pins.path().join(name));
            }
        }
    }
    let mut ebpf = loader.load(options.object)?;
    verify::programs(&mut ebpf, || {
        let needless = options.needless;
        options.stand_ins && !needless.is_some_and(|flag| flag.load(Ordering::Relaxed))
    })?;
    calls::fill(&mut ebpf)?;
    Ok(Object {
        ebpf,
        before,
        reused,
    })
}

/// The kept maps in a pin directory that a new generation can use: none when another layout wrote them.
/// One whose size differs from the wanted size is made anew, and so is one of another layout that a run
/// left behind which was cut off while it put new pins in place.
fn reusable(pins: &PinDir, entries: &BTreeMap<&'static str, u32>) -> Vec<&'static str> {
    let layout = pins.node_state().map(|state| state.layout);
    if layout != Some(LAYOUT_VERSION) {
        return Vec::new();
    }
    let fits = |name: &&'static str| {
        MapInfo::from_pin(pins.path().join(name)).is_ok_and(|info| {
            kept_value_size(name).is_some_and(|wanted| wanted == info.value_size() as usize)
                && entries
                    .get(name)
                    .is_none_or(|wanted| *wanted == info.max_entries())
        })
    };
    let mut reusable: Vec<_> = names::KEPT.into_iter().filter(fits).collect();
    // Programs read either both families' flows in two tables, or both in one.
    if !PREVIOUS.iter().all(|(name, _)| reusable.contains(name)) {
        reusable.retain(|name| PREVIOUS.iter().all(|(flows, _)| flows != name));
    }
    reusable
}

/// Bytes of a value of a map that a restart keeps.
fn kept_value_size(name: &str) -> Option<usize> {
    match name {
        names::FLOWS_V4 | names::FLOWS_V6 => Some(size_of::<Flow>()),
        names::FRAGMENTS => Some(size_of::<FragmentPorts>()),
        names::FLOW_COUNTS => Some(size_of::<FlowCounts>()),
        names::FLOW_SHARED => Some(size_of::<u64>()),
        names::RECENT => Some(size_of::<Recent>()),
        names::RECENT_BLOCKS => Some(size_of::<Block>()),
        names::METRICS => Some(size_of::<Counter>()),
        names::NODE_STATE => Some(size_of::<NodeState>()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_and_shared_flows_fit_in_the_table_together() {
        for (flows, endpoints) in [
            (262_144, 4_096),
            (1_000, 7),
            (64, 4_096),
            (1, 2),
            (8_192, 2),
        ] {
            let options = LoadOptions {
                object: &[],
                config: Config::DEFAULT,
                hz: None,
                sizes: TableSizes {
                    max_flows: flows,
                    max_endpoints: endpoints,
                    ..TableSizes::default()
                },
                pins: None,
                host_sockets: HostSockets::Here,
                stand_ins: false,
                needless: None,
            };
            let config = options.config(100);
            assert_eq!(config.own_flows, flows / (2 * endpoints));
            let most = config.own_flows * endpoints
                + config.shared_flows
                + config.flow_grant * processors();
            assert!(
                most <= flows.max(config.flow_grant * processors()),
                "{flows} {endpoints}"
            );
        }
    }
}
