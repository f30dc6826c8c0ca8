//! How much operations need on their way.

use super::Room;
use crate::plan::{contents::Contents, op::Op};

/// Elements of RULES, PORT_SETS, PORTS, and of both families of ADDRESSES and CIDRS.
type Counts = [usize; 7];

fn counts(contents: &Contents, inline_ports: usize) -> Counts {
    let of_families = |all: &mut dyn Iterator<Item = bool>| {
        let mut families = [0usize; 2];
        for is_v4 in all {
            families[usize::from(is_v4)] += 1;
        }
        families
    };
    let sets = contents.port_sets.values().map(|entries| entries.len());
    let addresses = of_families(&mut contents.addresses.keys().map(|one| one.is_ipv4()));
    let cidrs = of_families(&mut contents.cidrs.keys().map(|net| net.addr().is_ipv4()));
    [
        contents.rules.len(),
        contents.port_sets.len(),
        sets.filter(|entries| *entries > inline_ports).sum(),
        addresses[0],
        addresses[1],
        cidrs[0],
        cidrs[1],
    ]
}

/// Whether there is room for what a table holds at every step. Tables that held more before may go on to.
pub(super) fn has_room(have: &Contents, ops: &[Op], room: &Room) -> bool {
    let most = [
        room.rules,
        room.port_sets,
        room.ports,
        room.addresses,
        room.addresses,
        room.cidrs,
        room.cidrs,
    ];
    let start = counts(have, room.inline_ports);
    let mut now = have.clone();
    let fits = |now: &Contents| {
        let taken = counts(now, room.inline_ports);
        let limits = most.iter().zip(start).map(|(most, start)| start.max(*most));
        taken
            .into_iter()
            .zip(limits)
            .all(|(taken, most)| taken <= most)
    };
    let mut has_grown = false;
    for op in ops {
        let is_growing = matches!(
            op,
            Op::PutPortSet(..) | Op::PutRule(..) | Op::PutAddress { .. } | Op::PutCidr(..)
        );
        // Between two removals nothing grows: what is there before the first is the most.
        if has_grown && !is_growing && !fits(&now) {
            return false;
        }
        has_grown = is_growing;
        now.execute(op);
    }
    fits(&now)
}
