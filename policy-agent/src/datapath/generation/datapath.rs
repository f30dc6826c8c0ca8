//! One generation of the datapath: programs with their maps.

use std::collections::BTreeSet;

use aya::maps::MapError;
use ipnet::IpNet;
use policy_common::{Counter, Direction, Endpoint, EndpointId, Event, Reason, names};
use policy_core::plan::Op;

use super::{
    super::{
        events::{DebugLines, EventReader},
        flows::{SweepError, Sweeper, Swept},
        kernel::{
            clock::Clock,
            part::PartError,
            test_run::{TestOrigin, TestOutcome},
        },
        pins::{PinDir, PinDirError},
    },
    calls::CallsBefore,
    carry::{self, Before, Carry},
    counters::Counters,
    failure::Failure,
    load::{self, LoadError, LoadOptions},
    programs::Programs,
    writer::TableWriter,
};

/// Programs with their maps. Dropping it lets go of what is not pinned or attached.
///
/// The parts share nothing but the kernel's objects: each may be taken out and used in a thread of
/// its own.
pub struct Datapath {
    /// Writes the tables.
    pub tables: TableWriter,
    /// What is attached.
    pub programs: Programs,
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
    /// To be held until every link has moved.
    pub calls_before: Option<CallsBefore>,
    pins: Option<PinDir>,
    hz: u32,
}

impl Datapath {
    /// Loads a generation: empty tables, nothing attached, nothing pinned.
    ///
    /// # Errors
    /// The kernel's or the loader's reason. Needs `CAP_BPF` and `CAP_NET_ADMIN` (or
    /// `CAP_SYS_ADMIN` before Linux 5.8).
    pub fn load(options: &LoadOptions<'_>) -> Result<Self, LoadError> {
        let hz = load::hz(options)?;
        let calls_before = options.pins.and_then(CallsBefore::of);
        let (ebpf, flows_before) = load::load(options, hz)?;
        let config = options.config(hz);
        let before = options.pins.and_then(PinDir::node_state);
        let mut tables = TableWriter::of(&ebpf, &options.sizes, before)?;
        let events = EventReader::of(&ebpf)?;
        let counters = Counters::of(&ebpf)?;
        let mut programs = Programs::new(ebpf)?;
        let clock = Clock::new(programs.descriptor(names::JIFFIES)?);
        if let Some(pins) = options.pins {
            let now = clock.now().map_err(LoadError::Clock)?;
            carry::flows(flows_before, pins, &PinDir::new(pins.next()), now)?;
        }
        let carry = match flows_before {
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
        Ok(Self {
            tables,
            programs,
            flows,
            events,
            counters,
            debug,
            carry,
            calls_before,
            pins: options.pins.cloned(),
            hz,
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

    /// Has the programs ask only their own flow tables, and lets go of the generation before. To be
    /// called when every link has moved.
    ///
    /// # Errors
    /// See [`Carry::finish`].
    pub fn finish_carry(&mut self) -> Result<(), MapError> {
        if let Some(carry) = &mut self.carry {
            carry.finish(&mut self.tables)?;
        }
        self.carry = None;
        self.calls_before = None;
        Ok(())
    }

    /// See [`TableWriter::apply`].
    pub fn apply(&mut self, ops: &[Op]) -> Vec<Failure> {
        self.tables.apply(ops)
    }

    /// See [`TableWriter::settle`].
    ///
    /// # Errors
    /// The kernel refuses to write the map.
    pub fn settle(&mut self) -> Result<(), Failure> {
        self.tables.settle()
    }

    /// See [`TableWriter::fit`].
    pub fn fit(&mut self, wanted: &[Op]) -> Vec<Failure> {
        self.tables.fit(wanted)
    }

    /// See [`TableWriter::waiting`].
    pub fn waiting(&self) -> usize {
        self.tables.waiting()
    }

    /// Every endpoint that the programs know.
    ///
    /// # Errors
    /// The kernel refuses to read the map.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>, MapError> {
        self.tables.endpoints()
    }

    /// Tells the programs on which UDP ports this node unpacks tunnels.
    ///
    /// # Errors
    /// The kernel refuses to write the map.
    pub fn set_tunnel_ports(&mut self, ports: &[u16]) -> Result<(), MapError> {
        self.tables.set_tunnel_ports(ports)
    }

    /// Tells the programs which interfaces are IFBs.
    ///
    /// # Errors
    /// The kernel refuses to write the map.
    pub fn set_ifbs(&mut self, ifbs: &BTreeSet<u32>) -> Result<(), MapError> {
        self.tables.set_ifbs(ifbs)
    }

    /// Tells the programs what this node delivers locally besides its addresses.
    ///
    /// # Errors
    /// The kernel refuses to write the maps.
    pub fn set_local_routes(&mut self, routes: &[IpNet]) -> Result<(), MapError> {
        self.tables.set_local_routes(routes)
    }

    /// See [`Sweeper::sweep`].
    ///
    /// # Errors
    /// The kernel's reason; the next sweep starts anew.
    pub fn sweep(&mut self, live: &BTreeSet<EndpointId>) -> Result<Swept, SweepError> {
        self.flows.sweep(live)
    }

    /// See [`EventReader::read`].
    pub fn read_events(&mut self, most: usize) -> Vec<Event> {
        self.events.read(most)
    }

    /// See [`Counters::all`].
    ///
    /// # Errors
    /// The kernel refuses to read the map.
    pub fn counters(&self) -> Result<Vec<(Direction, Reason, Counter)>, PartError> {
        self.counters.all()
    }

    /// See [`Counters::one`].
    ///
    /// # Errors
    /// The kernel refuses to read the map.
    pub fn counter(&self, direction: Direction, reason: Reason) -> Result<Counter, PartError> {
        self.counters.one(direction, reason)
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

    /// Jiffies per second of the running kernel.
    pub fn hz(&self) -> u32 {
        self.hz
    }
}
