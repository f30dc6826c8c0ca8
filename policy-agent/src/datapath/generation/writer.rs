//! Executes the operations of plans.
//!
//! Owns what happens when the kernel refuses a write: the operation waits in the backlog with all
//! that depends on it, and every later call tries again. Invariant: at every step the verdict for
//! any packet is that of the old or of the new tables.

use std::net::IpAddr;

use aya::{Ebpf, maps::MapError};
use ipnet::IpNet;
use policy_common::{
    AddressEntry, Endpoint, EndpointId, IdentityId, LAYOUT_VERSION, NodeState, PortSetId, RuleKey,
    names,
};
use policy_core::plan::{EndpointEntry, Op, Writer, encode::EncodedPortSet, write};

use super::{
    super::kernel::grace::Grace,
    backlog::{Blocked, Replaced, Thing},
    failure::{Failure, failure},
    load::LoadError,
    tables::Tables,
};

/// Executes the operations of plans. At every step the programs read either state.
pub struct TableWriter {
    tables: Tables,
    grace: Grace,
    /// Operations that the kernel refused, and those that wait behind them.
    backlog: Vec<Op>,
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
    pub(crate) fn of(ebpf: &Ebpf, before: Option<NodeState>) -> Result<Self, LoadError> {
        let mut tables = Tables::of(ebpf)?;
        let node = NodeState {
            epoch: before.map_or(0, |state| state.epoch),
            layout: LAYOUT_VERSION,
            ..NodeState::default()
        };
        tables.put_node_state(node)?;
        tables.put_built_in_port_sets()?;
        Ok(Self {
            tables,
            grace: Grace::new()?,
            backlog: Vec::new(),
            node,
            written: Written::Nothing,
            grace_periods: 0,
        })
    }

    /// Whether programs of the generation before may still run, so that those of this one read and write
    /// its flows too.
    pub(crate) fn set_carries(&mut self, carries: bool) -> Result<(), MapError> {
        self.tables.set_carries(carries)
    }

    /// Executes what waits from earlier calls, then `ops`, in order. Only writes: the programs read
    /// the tables anew for every packet until [`TableWriter::settle`].
    ///
    /// Returns what the kernel refused; empty when the tables hold everything. An operation that
    /// depends on a refused one waits behind it, what has nothing to do with it goes on.
    pub fn apply(&mut self, ops: &[Op]) -> Vec<Failure> {
        let waited = std::mem::take(&mut self.backlog);
        let mut blocked = Blocked::default();
        let mut failures = Vec::new();
        for op in &waited {
            self.step(op, &mut blocked, &mut failures);
        }
        let caught_up = self.backlog.len() < waited.len();
        for op in ops {
            self.step(op, &mut blocked, &mut failures);
        }
        // An epoch that moved before the write it stood for would leave flows on old verdicts.
        if caught_up && let Err(source) = self.renew_epochs() {
            failures.push(Failure {
                table: names::ENDPOINTS,
                object: "epochs of all endpoints".into(),
                source,
            });
        }
        failures
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
            source,
        })
    }

    /// Returns when no program runs that began before the last write, if that was one of at least
    /// `least`.
    fn wait_for(&mut self, least: Written) -> Result<(), MapError> {
        if self.written >= least {
            self.grace.wait()?;
            self.written = Written::Nothing;
            self.grace_periods += 1;
        }
        Ok(())
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
        self.tables.put_tunnel_ports(ports)
    }

    /// Tells the programs what this node delivers locally besides its addresses.
    ///
    /// # Errors
    /// The kernel refuses to write the maps.
    pub fn set_local_routes(&mut self, routes: &[IpNet]) -> Result<(), MapError> {
        self.tables.put_local_routes(routes)
    }

    /// How many grace periods were waited for so far.
    pub fn grace_periods(&self) -> u64 {
        self.grace_periods
    }

    /// Operations that wait because of a refused write.
    pub fn waiting(&self) -> usize {
        self.backlog.len()
    }

    fn step(&mut self, op: &Op, blocked: &mut Blocked, failures: &mut Vec<Failure>) {
        if !blocked.is_empty() && blocked.holds_back(op) {
            self.put_off(op, blocked);
        } else if let Err(source) = self.execute(op) {
            failures.push(failure(op, source));
            self.put_off(op, blocked);
        }
    }

    fn put_off(&mut self, op: &Op, blocked: &mut Blocked) {
        let replaced = self.replaced(op);
        blocked.add(op, replaced);
        self.backlog.push(op.clone());
    }

    /// What the kernel holds today where `op` writes. What cannot be read is taken as nothing:
    /// the write itself then fails too.
    fn replaced(&self, op: &Op) -> Replaced {
        let mut replaced = Replaced::default();
        match op {
            Op::PutAddress { address, .. } | Op::DeleteAddress(address) => {
                let entry = self.tables.address(*address).ok().flatten();
                replaced.identity = entry.map(|entry| entry.identity);
            }
            Op::PutCidr(cidr, _) | Op::DeleteCidr(cidr) => {
                replaced.identity = self.tables.cidr(*cidr).ok().flatten();
            }
            Op::PutEndpoint(EndpointEntry { ifindex, .. }) | Op::DeleteEndpoint { ifindex, .. } => {
                if let Ok(Some(old)) = self.tables.endpoint_at(*ifindex) {
                    replaced.endpoint = uses(&old);
                }
            }
            _ => {}
        }
        replaced
    }

    fn execute(&mut self, op: &Op) -> Result<(), MapError> {
        write(self, op)
    }

    /// Something is about to be written.
    fn touch(&mut self, written: Written) -> &mut Tables {
        self.written = self.written.max(written);
        &mut self.tables
    }

    /// Has every flow evaluated again.
    fn renew_epochs(&mut self) -> Result<(), MapError> {
        self.written = Written::Visible;
        for endpoint in self.tables.endpoints()? {
            let epoch = self.next_epoch()?;
            let renewed = Endpoint { epoch, ..endpoint };
            self.tables.put_endpoint(renewed.sealed())?;
        }
        Ok(())
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

/// What an endpoint's entry refers to.
fn uses(endpoint: &Endpoint) -> Vec<Thing> {
    [endpoint.ingress, endpoint.egress]
        .into_iter()
        .flat_map(|rules| {
            [
                Thing::Ruleset(rules.ruleset),
                Thing::Ports(rules.default_ports),
            ]
        })
        .chain([Thing::Number(endpoint.id)])
        .collect()
}
