//! What every operation may rely on: nothing is named that does not exist, nothing is removed that is
//! not there or still in use, no number is given twice.

use policy_common::{IdentityId, PortSetId};

use crate::plan::{Contents, Op};

/// Whether the operation keeps the laws of tables that hold this.
pub fn is_lawful(contents: &Contents, op: &Op) -> bool {
    let has_ports = |id: PortSetId| id < PortSetId::FIRST || contents.port_sets.contains_key(&id);
    match op {
        Op::PutPortSet(id, _) => *id >= PortSetId::FIRST && !contents.port_sets.contains_key(id),
        Op::DeletePortSet(id, entries) => {
            let is_used = contents.rules.values().any(|ports| ports == id);
            contents.port_sets.get(id) == Some(entries) && !is_used
        }
        Op::PutRule(ruleset, identity, ports) => {
            let before = contents.rules.get(&(*ruleset, *identity));
            has_ports(*ports) && before.is_none_or(|before| before == ports)
        }
        Op::DeleteRule(ruleset, identity) => contents.rules.contains_key(&(*ruleset, *identity)),
        Op::PutAddress { .. } | Op::PutCidr(..) | Op::Grace => true,
        Op::DeleteAddress(address) => contents.addresses.contains_key(address),
        Op::DeleteCidr(net) => contents.cidrs.contains_key(net),
        Op::PutEndpoint(entry) => {
            let mut directions = [entry.ingress, entry.egress].into_iter().flatten();
            directions.all(|direction| {
                let host = (direction.ruleset, IdentityId::HOST);
                has_ports(direction.default_ports) && contents.rules.contains_key(&host)
            })
        }
        Op::DeleteEndpoint { ifindex, id } => {
            let endpoint = contents.endpoints.get(ifindex);
            endpoint.is_some_and(|entry| entry.id == *id)
        }
    }
}
