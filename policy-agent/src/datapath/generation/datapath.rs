//! The generation in force.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use ipnet::IpNet;
use policy_common::{Counter, Direction, Endpoint, EndpointId, Event, Reason};
use policy_core::plan::{Op, Writer as _};

use super::{
    super::{
        events::{DebugLines, EventReader},
        flows::{ForbiddenFlow, SweepError, Sweeper, Swept},
        kernel::{
            part::PartError,
            table::TableError,
            test_run::{TestOrigin, TestOutcome},
        },
    },
    carry::Carry,
    counters::Counters,
    failure::Failure,
    programs::Programs,
    writer::TableWriter,
};

/// The tables of a generation, and what reads them.
pub struct Generation {
    /// Writes the tables.
    pub tables: TableWriter,
    /// Sweeps the flow tables.
    pub flows: Sweeper,
    /// What the programs tell of single packets.
    pub events: EventReader,
    /// What the programs counted.
    pub counters: Counters,
    /// The programs' debug lines, if they were asked for.
    pub debug: Option<DebugLines>,
    /// The flows of the generation before, until every link has moved.
    pub carry: Option<Carry>,
}

/// The generation in force: its tables are filled and its pins stand, so that its programs may be put on
/// interfaces. Made by [`Filled::enforce`](super::Filled::enforce) alone. Dropping it lets go of what is
/// not pinned or attached.
///
/// The two parts share nothing but the kernel's objects: each may be used in a thread of its own.
pub struct Datapath {
    /// What is attached.
    pub programs: Programs,
    /// The tables.
    pub generation: Generation,
}

impl Generation {
    /// Has the programs ask only their own flow tables. To be called when every link has moved.
    ///
    /// # Errors
    /// See [`Carry::finish`].
    pub fn finish_carry(&mut self) -> Result<(), TableError> {
        if let Some(carry) = &mut self.carry {
            carry.finish(&mut self.tables)?;
        }
        self.carry = None;
        Ok(())
    }
}

impl Generation {
    /// Closes flows that their endpoints' rules forbid, as somebody else knows; returns how many were open.
    ///
    /// # Errors
    /// The kernel refuses to read or write the maps. What was closed stays closed.
    pub fn forbid(&mut self, flows: &[ForbiddenFlow]) -> Result<usize, SweepError> {
        let mut closed = 0;
        for flow in flows {
            if let Some(endpoint) = self.tables.endpoint_at(flow.ifindex)?
                && endpoint.id == flow.endpoint
            {
                closed += usize::from(self.flows.forbid(flow, endpoint.epoch)?);
            }
        }
        Ok(closed)
    }
}

impl Datapath {
    /// See [`TableWriter::apply`].
    pub fn apply(&mut self, ops: &[Op]) -> Vec<Failure> {
        self.generation.tables.apply(ops)
    }

    /// See [`TableWriter::settle`].
    ///
    /// # Errors
    /// The kernel refuses to write the map.
    pub fn settle(&mut self) -> Result<(), Failure> {
        self.generation.tables.settle()
    }

    /// See [`TableWriter::fit`].
    pub fn fit(&mut self, wanted: &[Op], limit: u64) -> Vec<Failure> {
        self.generation.tables.fit(wanted, limit)
    }

    /// See [`TableWriter::waiting`].
    pub fn waiting(&self) -> usize {
        self.generation.tables.waiting()
    }

    /// Every endpoint that the programs know.
    ///
    /// # Errors
    /// The kernel refuses to read the map.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>, TableError> {
        self.generation.tables.endpoints()
    }

    /// Tells the programs on which UDP ports this node unpacks tunnels.
    ///
    /// # Errors
    /// The kernel refuses to write the map.
    pub fn set_tunnel_ports(&mut self, ports: &[u16]) -> Result<(), TableError> {
        self.generation.tables.set_tunnel_ports(ports)
    }

    /// Tells the programs which interfaces are IFBs.
    ///
    /// # Errors
    /// The kernel refuses to write the map.
    pub fn set_ifbs(&mut self, ifbs: &BTreeSet<u32>) -> Result<(), TableError> {
        self.generation.tables.set_ifbs(ifbs)
    }

    /// Tells the programs what this node delivers locally besides its addresses.
    ///
    /// # Errors
    /// The kernel refuses to write the maps.
    pub fn set_local_routes(&mut self, routes: &[IpNet]) -> Result<(), TableError> {
        self.generation.tables.set_local_routes(routes)
    }

    /// Tells the programs the addresses of Services.
    ///
    /// # Errors
    /// The kernel refuses to write the maps.
    pub fn set_services(&mut self, services: &[IpNet]) -> Result<(), TableError> {
        self.generation.tables.set_services(services)
    }

    /// See [`Sweeper::sweep`].
    ///
    /// # Errors
    /// The kernel's reason; the next sweep starts anew.
    pub fn sweep(&mut self, live: &BTreeSet<EndpointId>) -> Result<Swept, SweepError> {
        self.generation.flows.sweep(live)
    }

    /// See [`EventReader::read`].
    pub fn read_events(&mut self, most: usize) -> Vec<Event> {
        self.generation.events.read(most)
    }

    /// See [`EventReader::untold`].
    ///
    /// # Errors
    /// The kernel refuses to read the map.
    pub fn untold_drops(&mut self) -> io::Result<BTreeMap<EndpointId, u32>> {
        self.generation.events.untold()
    }

    /// See [`Counters::all`].
    ///
    /// # Errors
    /// The kernel refuses to read the map.
    pub fn counters(&self) -> Result<Vec<(Direction, Reason, Counter)>, PartError> {
        self.generation.counters.all()
    }

    /// See [`Counters::one`].
    ///
    /// # Errors
    /// The kernel refuses to read the map.
    pub fn counter(&self, direction: Direction, reason: Reason) -> Result<Counter, PartError> {
        self.generation.counters.one(direction, reason)
    }

    /// See [`Programs::test_run`].
    ///
    /// # Errors
    /// There is no such program, or the kernel refuses the packet.
    pub fn test_run(
        &mut self,
        program: &'static str,
        packet: &[u8],
        origin: TestOrigin,
    ) -> Result<TestOutcome, PartError> {
        self.programs.test_run(program, packet, origin)
    }
}
