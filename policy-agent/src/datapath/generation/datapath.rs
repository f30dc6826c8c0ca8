//! One generation of the datapath: programs with their maps.

use std::collections::BTreeSet;

use aya::{Ebpf, maps::MapError};
use policy_common::{
    Config, Endpoint, EndpointId, Event, LAYOUT_VERSION, NodeState, PortEntry, PortSet, PortSetId,
    Verdict, names,
};
use policy_core::plan::Op;

use super::{
    super::{
        events::{DebugLines, EventReader},
        flows::{SweepError, Sweeper, Swept},
        kernel::{
            grace::Grace,
            hz,
            part::{self, PartError},
        },
        pins::{PinDir, PinDirError},
    },
    load::{self, LoadError, LoadOptions},
    tables::Tables,
};

/// Programs with their maps. Dropping it lets go of what is not pinned or attached.
pub struct Datapath {
    pub(super) ebpf: Ebpf,
    pub(in crate::datapath) tables: Tables,
    pub(in crate::datapath) grace: Grace,
    /// Operations that the kernel refused, and those that wait behind them.
    pub(in crate::datapath) backlog: Vec<Op>,
    pub(in crate::datapath) node: NodeState,
    pub(in crate::datapath) pins: Option<PinDir>,
    pub(in crate::datapath) config: Config,
    /// For loading twins.
    pub(in crate::datapath) object: Vec<u8>,
    sweeper: Sweeper,
    events: EventReader,
    debug: Option<DebugLines>,
}

impl Datapath {
    /// Loads a generation: empty tables, nothing attached, nothing pinned.
    ///
    /// # Errors
    /// The kernel's or the loader's reason. Needs `CAP_BPF` and `CAP_NET_ADMIN` (or
    /// `CAP_SYS_ADMIN` before Linux 5.8).
    pub fn load(options: &LoadOptions<'_>) -> Result<Self, LoadError> {
        let hz = load::hz(options)?;
        let mut ebpf = load::load(options, hz)?;
        let mut tables = Tables::take_from(&mut ebpf)?;
        // The epoch counter survives a change of layouts: a flow never looks newer than it is.
        let before = options.pins.and_then(PinDir::node_state);
        let node = NodeState {
            epoch: before.map_or(0, |state| state.epoch),
            layout: LAYOUT_VERSION,
            ..NodeState::default()
        };
        tables.put_node_state(node)?;
        tables.put_built_in_port_sets()?;
        let config = Config {
            hz,
            ..options.config
        };
        let sweeper = Sweeper::take_from(&mut ebpf, config)?;
        let events = EventReader::take_from(&mut ebpf)?;
        let debug = (options.config.debug != 0)
            .then(|| DebugLines::take_from(&mut ebpf))
            .flatten();
        Ok(Self {
            ebpf,
            sweeper,
            events,
            debug,
            config,
            tables,
            grace: Grace::new()?,
            backlog: Vec::new(),
            object: options.object.to_vec(),
            node,
            pins: options.pins.cloned(),
        })
    }

    /// Puts this generation's maps in the place of those that are pinned. Call it when the tables
    /// are filled and before programs are attached: what a later run reads back is then at least as
    /// new as what the attached programs read.
    ///
    /// # Errors
    /// A pin cannot be replaced.
    pub fn publish(&self) -> Result<(), PinDirError> {
        self.pins.as_ref().map_or(Ok(()), PinDir::publish)
    }

    /// Every endpoint that the programs know.
    ///
    /// # Errors
    /// The kernel refuses to read the map.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>, MapError> {
        self.tables.endpoints()
    }

    /// Removes flows that are over, or that belong to endpoints which are not `live`.
    ///
    /// # Errors
    /// The kernel's reason; the next sweep starts anew.
    pub fn sweep(&mut self, live: &BTreeSet<EndpointId>) -> Result<Swept, SweepError> {
        let now = self.jiffies()?;
        self.sweeper.sweep(live, now)
    }

    /// The low half of jiffies, which the programs take for the time.
    fn jiffies(&mut self) -> Result<u32, PartError> {
        let name = names::JIFFIES;
        let program = part::classifier(&mut self.ebpf, name)?;
        hz::jiffies(program).map_err(|source| PartError::Program { name, source })
    }

    /// Reads events that the programs wrote, `most` at a time. To be called at intervals: nothing
    /// announces an event.
    pub fn read_events(&mut self, most: usize) -> Vec<Event> {
        self.events.read(most)
    }

    /// Passes debug lines on that the programs wrote since the last call.
    pub fn flush_debug(&mut self) {
        if let Some(debug) = &mut self.debug {
            debug.flush();
        }
    }

    /// Jiffies per second of the running kernel.
    pub fn hz(&self) -> u32 {
        self.config.hz
    }

    /// Tells the programs on which UDP ports this node unpacks tunnels.
    ///
    /// # Errors
    /// The kernel refuses to write the map.
    pub fn set_tunnel_ports(&mut self, ports: &[u16]) -> Result<(), MapError> {
        self.tables.put_tunnel_ports(ports)
    }
}

impl Tables {
    /// Number 0 denies everything as zeroed memory does; number 1 allows everything.
    fn put_built_in_port_sets(&mut self) -> Result<(), MapError> {
        let mut allow_all = PortSet {
            count: 1,
            ..PortSet::default()
        };
        allow_all.inline[0] = PortEntry {
            any_protocol: 1,
            verdict: Verdict::ALLOW,
            ..PortEntry::default()
        };
        self.put_port_set_header(PortSetId::ALLOW_ALL, allow_all)
    }
}
