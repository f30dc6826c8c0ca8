//! What the loop and the thread that owns the tables say to each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ipnet::IpNet;
use policy_common::{EndpointId, Event, RulesetId};
use policy_core::plan::{Op, Short, Table};

use crate::{
    agent::AgentError,
    datapath::{Loaded, Programs, TableSizes},
};

/// What the tables are asked to do.
pub(in crate::agent) enum Request {
    /// Fill the tables that are loaded and put their pins in the place of those of the run before. Once,
    /// and before it only facts of the node.
    Enforce {
        /// The turn's number.
        turn: u64,
        /// Operations on empty tables.
        wanted: Vec<Op>,
    },
    /// Execute these operations of a turn of the loop.
    Apply {
        /// The turn's number.
        turn: u64,
        /// The operations.
        ops: Vec<Op>,
    },
    /// Make the tables equal to what fits of all that is wanted.
    Fit {
        /// The turn's number.
        turn: u64,
        /// Operations on empty tables.
        wanted: Vec<Op>,
        /// Larger tables may be on their way: what only allows more can wait for them.
        may_grow: bool,
    },
    /// Tell the programs where this node unpacks tunnels.
    TunnelPorts(Vec<u16>),
    /// Tell the programs what this node delivers locally.
    LocalRoutes(Vec<IpNet>),
    /// Tell the programs which interfaces are IFBs.
    Ifbs(BTreeSet<u32>),
    /// Tell the programs the addresses of Services.
    Services(Vec<IpNet>),
    /// Go on in the larger tables of another generation, unless these hold everything by now.
    Replace {
        /// The turn's number.
        turn: u64,
        /// The other generation.
        loaded: Box<Loaded>,
        /// Operations on empty tables.
        wanted: Vec<Op>,
    },
    /// No link leads to programs of the generation before any more.
    Retire,
    /// The same, where those had other flow tables.
    FinishCarry,
    /// Sweep the flow tables; flows of other endpoints than these are removed.
    Sweep(BTreeSet<EndpointId>),
    /// A program stands at the interface of this endpoint, for the first time in this run.
    Adopt(EndpointId),
    /// The agent ends: tell of all that was dropped until now.
    TellLast,
}

/// What the tables answer.
pub(in crate::agent) enum Reply {
    /// The programs are loaded.
    Loaded,
    /// A generation is in force: its programs are to be attached.
    InForce {
        /// These.
        programs: Programs,
        /// Until links have moved, they need the flow tables of the generation before.
        carries: bool,
    },
    /// What was asked up to a turn is written, and settled.
    Applied {
        /// The last turn.
        turn: u64,
        /// How the tables are now.
        state: State,
    },
    /// Nothing of a turn was written, or not all: the tables ask for all that is wanted.
    Incomplete,
    /// Larger tables are loaded.
    Grown(Box<Loaded>),
    /// The tables stay as they are; why, if that is a fault.
    NotReplaced(Option<String>),
    /// A sweep is over.
    Swept {
        /// Nothing waits: endpoints that are gone make no flows any more.
        clean: bool,
        /// How long it took.
        took: Duration,
    },
    /// Of so many endpoints it is looked for what was open before.
    Adopting(usize),
    /// What the programs told of single packets.
    Events(Vec<Event>),
    /// How many drops of endpoints they told nothing of.
    Untold(BTreeMap<EndpointId, u32>),
    /// All was told that was dropped until [`Request::TellLast`].
    ToldLast,
    /// The agent cannot go on.
    Failed(AgentError),
}

/// How the tables are after a write.
#[derive(Debug, Default)]
pub(in crate::agent) struct State {
    /// They are exactly what was wanted: plans of changes may follow.
    pub(in crate::agent) is_exact: bool,
    /// The kernel refused a write that is to be tried again though nothing changes.
    pub(in crate::agent) is_refused: bool,
    /// What the kernel refused.
    pub(in crate::agent) failures: Vec<String>,
    /// How much of what is wanted is not in force.
    pub(in crate::agent) waiting: usize,
    /// What has no room.
    pub(in crate::agent) short: Vec<Short>,
    /// The table that has no room for what is wanted as it was meant.
    pub(in crate::agent) packed: Option<Table>,
    /// Rulesets that are not to be collected.
    pub(in crate::agent) held: BTreeSet<RulesetId>,
    /// How large the tables are.
    pub(in crate::agent) sizes: TableSizes,
    /// How large they may become, where what is wanted has no room.
    pub(in crate::agent) growth: Option<TableSizes>,
}
