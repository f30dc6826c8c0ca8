//! Executes the operations of plans.
//!
//! Owns what the tables hold, and what happens when the kernel refuses a write: the plan ends there,
//! which is a state that the plan allows, and the next one begins with all that is wanted. Invariant:
//! at every step a packet is allowed only if the old or the new tables allow it.

mod growth;
mod said;
mod slots;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use aya::{Ebpf, maps::MapError};
use ipnet::IpNet;
use policy_common::{
    AddressEntry, Endpoint, EndpointId, IdentityId, LAYOUT_VERSION, NodeState, PortSetId, RuleKey,
    RulesetId, names,
};
use policy_core::plan::{
    Contents, Haste, Op, Room, Short, Table, Writer, encode::EncodedPortSet, fit, write,
};

use super::{
    super::kernel::{grace::Grace, table::TableError},
    failure::{Failure, cause, failure},
    load::LoadError,
    object,
    sizes::TableSizes,
    tables::Tables,
};

/// Plans after which the tables are as full as they get: each makes room for the next.
const PLANS: usize = 8;

/// Executes the operations of plans. At every step the programs read either state.
pub struct TableWriter {
    tables: Tables,
    /// What was written.
    contents: Contents,
    /// How much fits.
    room: Room,
    /// Where port sets stand: their numbers may be larger than the table while it has room.
    slots: BTreeMap<PortSetId, PortSetId>,
    taken_slots: BTreeSet<PortSetId>,
    is_exact: bool,
    refused: Option<Failure>,
    short: Vec<Short>,
    packed: Option<Table>,
    /// What all that was wanted last takes.
    needed: Option<Room>,
    sizes: TableSizes,
    node: NodeState,
    /// What was written since the last grace period.
    written: Written,
    grace_periods: u64,
}

/// What a running program may have read before it was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Written {
    /// Nothing: whoever runs sees the tables as they are.
    #[default]
    Nothing,
    /// Only what nothing led to.
    Unreached,
    /// An address, a prefix or an endpoint: what it led to before may be on somebody's way.
    Visible,
}

impl TableWriter {
    /// Opens the tables of a loaded object, empty but for what is built in. `before` is what the
    /// generation before remembers: the epoch counter survives a change of layouts, so that a flow
    /// never looks newer than it is.
    pub(crate) fn of(
        ebpf: &Ebpf,
        sizes: &TableSizes,
        before: Option<NodeState>,
    ) -> Result<Self, LoadError> {
        let grace = Grace::new().map_err(TableError::of("a table of its own"))?;
        let mut tables = Tables::of(ebpf, grace)?;
        let node = NodeState {
            epoch: before.map_or(0, |state| state.epoch),
            layout: LAYOUT_VERSION,
            agent: object::version(),
            ..NodeState::default()
        };
        // Else a generation that is in force counts epochs there at this moment.
        if before != Some(node) {
            let written = tables.put_node_state(node);
            written.map_err(TableError::of(names::NODE_STATE))?;
        }
        tables
            .put_built_in()
            .map_err(TableError::of(names::RULES))?;
        Ok(Self {
            tables,
            contents: Contents::default(),
            room: sizes.room(),
            slots: BTreeMap::new(),
            taken_slots: BTreeSet::new(),
            is_exact: true,
            refused: None,
            short: Vec::new(),
            packed: None,
            needed: None,
            sizes: *sizes,
            node,
            written: Written::Nothing,
            grace_periods: 0,
        })
    }

    /// Whether programs of the generation before may still run, so that those of this one read and write
    /// its flows too.
    pub(crate) fn set_carries(&mut self, carries: bool) -> Result<(), TableError> {
        let written = self.tables.set_carries(carries);
        written.map_err(TableError::of(names::CONTROL))
    }

    /// Executes operations in order, up to the first that the kernel refuses. Only writes: the
    /// programs read the tables anew for every packet until [`TableWriter::settle`].
    ///
    /// Returns what was refused. From then on plans of changes are of no use: nothing is executed
    /// until [`TableWriter::fit`] was called with all that is wanted.
    pub fn apply(&mut self, ops: &[Op]) -> Vec<Failure> {
        if self.is_exact {
            self.refused = self.execute_all(ops).err();
            self.is_exact = self.refused.is_none();
        }
        self.refused.iter().cloned().collect()
    }

    /// Makes the tables equal to what fits of the wanted ones, given as operations on empty tables:
    /// what was written in vain is undone, removals come first. At every step a packet is allowed
    /// only if it was, or should be. Where the tables may grow within `limit` bytes, rules that only allow
    /// more wait for that; else they take the place of the old ones, and meanwhile all is denied.
    ///
    /// Returns what the kernel refused nevertheless; what has no room is told by
    /// [`TableWriter::short`].
    pub fn fit(&mut self, wanted: &[Op], limit: u64) -> Vec<Failure> {
        let wanted = Contents::of(wanted);
        self.fit_with(&wanted, Haste::Patient);
        let waits = !self.is_exact && self.refused.is_none();
        if waits && self.grown(limit).is_none() {
            self.fit_with(&wanted, Haste::Now);
        }
        self.refused.iter().cloned().collect()
    }

    fn fit_with(&mut self, wanted: &Contents, haste: Haste) {
        self.needed = Some(Room::of(wanted, self.room.inline_ports));
        self.is_exact = false;
        self.refused = None;
        for _ in 0..PLANS {
            let plan = fit(&self.contents, wanted, &self.room, haste);
            self.short = plan.short;
            self.packed = plan.packed;
            self.refused = self.execute_all(&plan.ops).err();
            self.is_exact = plan.is_exact && self.refused.is_none();
            if self.is_exact || self.refused.is_some() || plan.ops.is_empty() {
                break;
            }
        }
    }

    /// Whether the tables are exactly what was wanted, so that plans of changes may follow. Where
    /// they are not, rulesets are not to be collected that are [`TableWriter::held`], and every
    /// change, and every collection by itself, is followed by [`TableWriter::fit`].
    pub fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// What has no room.
    pub fn short(&self) -> &[Short] {
        &self.short
    }

    /// The table that has no room for what is wanted as it was meant: all that is not
    /// [`TableWriter::short`] is in force all the same, written more densely.
    pub fn packed(&self) -> Option<Table> {
        self.packed
    }

    /// Sizes of the tables.
    pub fn sizes(&self) -> &TableSizes {
        &self.sizes
    }

    /// The rulesets that endpoints lead to now.
    pub fn held(&self) -> BTreeSet<RulesetId> {
        let entries = self.contents.endpoints.values();
        let directions = entries.flat_map(|entry| [entry.ingress, entry.egress]);
        directions.flatten().map(|rules| rules.ruleset).collect()
    }

    /// How much of what is wanted is not in force; 0 when all is.
    pub fn waiting(&self) -> usize {
        self.short.len() + usize::from(self.refused.is_some())
    }

    /// Whether the kernel refused a write for another reason than one that planning avoids: to be
    /// tried again though nothing changes.
    pub fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    fn execute_all(&mut self, ops: &[Op]) -> Result<(), Failure> {
        for op in ops {
            self.execute(op).map_err(|source| failure(op, &source))?;
            self.contents.execute(op);
        }
        Ok(())
    }

    /// Lets the programs remember what they read, if a table was written since they were last
    /// allowed to. To be called once for any number of writes, when no more are due: it waits for a
    /// grace period, some milliseconds, unless a removal just did.
    ///
    /// # Errors
    /// The kernel's reason: verdicts are right all the same, only slower. The next call tries again.
    pub fn settle(&mut self) -> Result<(), Failure> {
        let settle = |this: &mut Self| {
            if this.tables.is_unsettled() {
                this.wait_for(Written::Unreached)?;
                this.tables.settle()?;
            }
            Ok(())
        };
        settle(self).map_err(|source| Failure {
            table: names::CONTROL,
            object: "what programs may remember of the tables".into(),
            cause: cause(&source),
            is_full: false,
        })
    }

    /// Returns when no program runs that began before the last write, if that was one of at least
    /// `least`.
    fn wait_for(&mut self, least: Written) -> Result<(), MapError> {
        if self.written >= least {
            self.tables.wait()?;
            self.written = Written::Nothing;
            self.grace_periods += 1;
        }
        Ok(())
    }

    /// Every endpoint that the programs know.
    ///
    /// # Errors
    /// The kernel refuses to read the map.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>, TableError> {
        let read = self.tables.endpoints();
        read.map_err(TableError::of(names::ENDPOINTS))
    }

    /// Tells the programs on which UDP ports this node unpacks tunnels.
    ///
    /// # Errors
    /// The kernel refuses to write the map.
    pub fn set_tunnel_ports(&mut self, ports: &[u16]) -> Result<(), TableError> {
        let written = self.tables.put_tunnel_ports(ports);
        written.map_err(TableError::of(names::TUNNEL_PORTS))
    }

    /// Tells the programs which interfaces are IFBs.
    ///
    /// # Errors
    /// The kernel refuses to write the map.
    pub fn set_ifbs(&mut self, ifbs: &BTreeSet<u32>) -> Result<(), TableError> {
        let written = self.tables.put_ifbs(ifbs);
        written.map_err(TableError::of(names::POD_LINKS))
    }

    /// Tells the programs what this node delivers locally besides its addresses.
    ///
    /// # Errors
    /// The kernel refuses to write the maps.
    pub fn set_local_routes(&mut self, routes: &[IpNet]) -> Result<(), TableError> {
        let written = self.tables.put_local_routes(routes);
        written.map_err(TableError::of(names::LOCALS_V4))
    }

    /// Tells the programs the addresses of Services, as far as there is room. What programs remember of them
    /// is forgotten with the next endpoints that are written.
    ///
    /// # Errors
    /// The kernel refuses to write the maps.
    pub fn set_services(&mut self, services: &[IpNet]) -> Result<(), TableError> {
        let written = self.tables.put_services(services);
        if !written.map_err(TableError::of(names::SERVICES_V4))? {
            tracing::warn!(
                remedy = "give their range: --service-cidr",
                "there are more addresses of Services than there is room for: egress to some is judged by \
                 these addresses"
            );
        }
        Ok(())
    }

    /// How many grace periods were waited for so far.
    pub fn grace_periods(&self) -> u64 {
        self.grace_periods
    }

    fn execute(&mut self, op: &Op) -> Result<(), MapError> {
        let mut op = op.clone();
        let removed = self.place(&mut op)?;
        write(self, &op).inspect_err(|_| {
            if let Op::PutPortSet(slot, _) = op {
                self.give_back(slot);
            }
        })?;
        removed.into_iter().for_each(|slot| self.give_back(slot));
        Ok(())
    }

    /// Something is about to be written.
    fn touch(&mut self, written: Written) -> &mut Tables {
        self.written = self.written.max(written);
        &mut self.tables
    }
}

impl Writer for TableWriter {
    type Error = MapError;

    fn put_port_set(&mut self, id: PortSetId, set: &EncodedPortSet) -> Result<(), MapError> {
        self.touch(Written::Unreached).put_port_set(id, set)
    }

    fn delete_port_set(&mut self, id: PortSetId, set: &EncodedPortSet) -> Result<(), MapError> {
        self.touch(Written::Unreached).delete_port_set(id, set)
    }

    fn put_rule(&mut self, key: RuleKey, ports: PortSetId) -> Result<(), MapError> {
        self.touch(Written::Unreached).put_rule(key, ports)
    }

    fn delete_rule(&mut self, key: RuleKey) -> Result<(), MapError> {
        self.touch(Written::Unreached).delete_rule(key)
    }

    fn put_address(&mut self, address: IpAddr, entry: AddressEntry) -> Result<(), MapError> {
        self.touch(Written::Visible).put_address(address, entry)
    }

    fn delete_address(&mut self, address: IpAddr) -> Result<(), MapError> {
        self.touch(Written::Visible).delete_address(address)
    }

    fn put_cidr(&mut self, cidr: IpNet, identity: IdentityId) -> Result<(), MapError> {
        self.touch(Written::Visible).put_cidr(cidr, identity)
    }

    fn delete_cidr(&mut self, cidr: IpNet) -> Result<(), MapError> {
        self.touch(Written::Visible).delete_cidr(cidr)
    }

    fn endpoint_at(&self, ifindex: u32) -> Result<Option<Endpoint>, MapError> {
        self.tables.endpoint_at(ifindex)
    }

    fn put_endpoint(&mut self, endpoint: Endpoint) -> Result<(), MapError> {
        self.touch(Written::Visible).put_endpoint(endpoint)
    }

    fn delete_endpoint(&mut self, ifindex: u32, id: EndpointId) -> Result<(), MapError> {
        self.touch(Written::Visible).delete_endpoint(ifindex, id)
    }

    /// The next epoch, remembered before it is used.
    fn next_epoch(&mut self) -> Result<u32, MapError> {
        self.node.epoch += 1;
        self.tables.put_node_state(self.node)?;
        // The programs compare for equality only: a wrap after 2^32 changes is harmless.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the low 32 bits are the epoch"
        )]
        let epoch = self.node.epoch as u32;
        Ok(epoch)
    }

    /// A grace period, if anything was written since the last one that a program may have met.
    fn wait(&mut self) -> Result<(), MapError> {
        self.wait_for(Written::Visible)
    }
}
