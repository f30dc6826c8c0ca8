//! What plain tables say of connections that pods open is what the programs say.

use policy_common::Direction;
use policy_core::{
    laws::{
        Facts,
        probe::{ask, probes},
        strategies::facts,
    },
    model::Peer,
};
use proptest::prelude::*;

use crate::compile;

fn differences(facts: &Facts) -> Vec<String> {
    let (_, tables) = compile(facts);
    let contents = tables.contents();
    let mut differences = Vec::new();
    for probe in probes() {
        let (Peer::Address(peer), Direction::Egress) = (probe.peer, probe.direction) else {
            continue;
        };
        let (Some(entry), Some(port)) = (contents.endpoints.get(&probe.ifindex), probe.port) else {
            continue;
        };
        let said = contents.lets_out(entry, peer, probe.protocol, port);
        if said != ask(&tables, &probe) {
            differences.push(format!("{probe:?}: {said}"));
        }
    }
    differences
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn tables_say_of_egress_what_the_programs_say(facts in facts()) {
        prop_assert_eq!(differences(&facts), [] as [String; 0]);
    }
}
