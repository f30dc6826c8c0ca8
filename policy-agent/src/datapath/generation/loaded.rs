//! From a loaded generation to the one in force: the one way for a start, an upgrade and larger tables.
//!
//! Owns the order: loaded, filled, in force. Must not know interfaces. Invariant: nothing of a generation
//! can be put on an interface before its tables hold what is wanted and its pins stand – what a later run
//! reads back is then at least as new as what attached programs read.

use std::collections::BTreeSet;

use ipnet::IpNet;
use policy_common::{Counter, Direction, EndpointId, Reason, names};
use policy_core::plan::Op;

use super::{
    super::{
        events::{DebugLines, EventReader},
        flows::{SweepError, Sweeper, Swept},
        kernel::{clock::Clock, part::PartError, table::TableError},
        pins::{PinDir, PinDirError, Pins},
    },
    carry::{self, Before, Carry, PREVIOUS},
    counters::Counters,
    datapath::{Datapath, Generation},
    failure::Failure,
    load::{self, LoadError, LoadOptions, Object},
    programs::Programs,
    writer::TableWriter,
};

/// What programs are told of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// UDP ports on which it unpacks tunnels.
    pub tunnel_ports: Vec<u16>,
    /// What it delivers locally besides its addresses.
    pub local_routes: Vec<IpNet>,
    /// Its interfaces that are IFBs.
    pub ifbs: BTreeSet<u32>,
    /// Addresses of Services.
    pub services: Vec<IpNet>,
}

/// A generation whose tables are empty.
pub struct Loaded {
    datapath: Datapath,
    pins: Option<Pins>,
    /// Maps that stand where they are to stand.
    reused: Vec<&'static str>,
}

/// A generation whose tables hold what is wanted, as far as there is room.
pub struct Filled {
    loaded: Loaded,
    refused: Vec<Failure>,
}

impl Datapath {
    /// Takes all the steps at once, for whoever has no other generation.
    ///
    /// # Errors
    /// Those of the steps; also when the kernel refuses to write something of what is wanted.
    pub fn load(options: &LoadOptions<'_>, wanted: &[Op]) -> Result<Self, LoadError> {
        let filled = Loaded::load(options)?.fill(&NodeFacts::default(), wanted)?;
        match filled.refused().first() {
            Some(refused) => Err(refused.clone().into()),
            None => Ok(filled.enforce()?),
        }
    }
}

impl Loaded {
    /// Loads a generation beside whatever is enforced.
    ///
    /// # Errors
    /// The kernel's or the loader's reason. Needs `CAP_BPF` and `CAP_NET_ADMIN` (or
    /// `CAP_SYS_ADMIN` before Linux 5.8).
    pub fn load(options: &LoadOptions<'_>) -> Result<Self, LoadError> {
        let hz = load::hz(options)?;
        let Object {
            ebpf,
            before,
            mut reused,
        } = load::load(options, hz)?;
        let config = options.config(hz);
        let pins: Option<&PinDir> = options.pins.map(|pins| &**pins);
        let remembered = pins.and_then(PinDir::node_state);
        let mut tables = TableWriter::of(&ebpf, &options.sizes, remembered)?;
        let events = EventReader::of(&ebpf)?;
        let counters = Counters::of(&ebpf)?;
        let mut programs = Programs::new(ebpf)?;
        let clock = Clock::new(programs.descriptor(names::JIFFIES)?);
        if let Some(pins) = pins {
            let now = clock.now().map_err(LoadError::Clock)?;
            carry::flows(before, pins, programs.object(), now)?;
        }
        let carry = match before {
            Before::Beside => {
                tables.set_carries(true)?;
                Some(Carry::of(programs.object())?)
            }
            Before::Nowhere | Before::Layout2 | Before::Unknown => None,
        };
        let flows = Sweeper::of(programs.object(), clock, config)?;
        let debug = (options.config.debug != 0)
            .then(|| DebugLines::of(*programs.ids(names::FROM_POD).first()?))
            .flatten();
        // What is another's need not live longer because of our pins.
        reused.extend(PREVIOUS.map(|(_, previous)| previous));
        Ok(Self {
            datapath: Datapath {
                programs,
                generation: Generation {
                    tables,
                    flows,
                    events,
                    counters,
                    debug,
                    carry,
                },
            },
            pins: options.pins.cloned(),
            reused,
        })
    }

    /// See [`Sweeper::sweep`].
    ///
    /// # Errors
    /// The kernel's reason; the next sweep starts anew.
    pub fn sweep(&mut self, live: &BTreeSet<EndpointId>) -> Result<Swept, SweepError> {
        self.datapath.sweep(live)
    }

    /// See [`Counters::one`]: generations share what is counted.
    ///
    /// # Errors
    /// The kernel refuses to read the map.
    pub fn counter(&self, direction: Direction, reason: Reason) -> Result<Counter, PartError> {
        self.datapath.counter(direction, reason)
    }

    /// Goes on where the tables of the generation before end.
    pub fn succeed(&mut self, before: &TableWriter) {
        self.datapath.generation.tables.succeed(before);
    }

    /// Writes what is wanted, given as operations on empty tables.
    ///
    /// # Errors
    /// The kernel refuses to write what programs are told of the node. What it refuses of the rest is
    /// [`Filled::refused`].
    pub fn fill(mut self, node: &NodeFacts, wanted: &[Op]) -> Result<Filled, TableError> {
        let tables = &mut self.datapath.generation.tables;
        tables.set_tunnel_ports(&node.tunnel_ports)?;
        tables.set_local_routes(&node.local_routes)?;
        tables.set_ifbs(&node.ifbs)?;
        tables.set_services(&node.services)?;
        let mut refused = tables.apply(wanted);
        if !tables.is_exact() {
            refused = tables.fit(wanted, 0);
        }
        refused.extend(tables.settle().err());
        Ok(Filled {
            loaded: self,
            refused,
        })
    }
}

impl Filled {
    /// What the kernel refused to write.
    pub fn refused(&self) -> &[Failure] {
        &self.refused
    }

    /// See [`TableWriter::grown`].
    pub fn grown(&self, limit: u64) -> Option<super::TableSizes> {
        self.loaded.datapath.generation.tables.grown(limit)
    }

    /// Puts its pins in the place of those of the generation before. The programs of that one go on until
    /// the links have moved.
    ///
    /// # Errors
    /// A pin cannot be replaced.
    pub fn enforce(self) -> Result<Datapath, PinDirError> {
        let Loaded {
            datapath,
            pins,
            reused,
        } = self.loaded;
        if let Some(pins) = pins {
            pins.publish(datapath.programs.object(), &reused)?;
        }
        Ok(datapath)
    }
}
