//! A history of changes leaves what its end alone would have made.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use ipnet::IpNet;
use policy_common::{EndpointId, IdentityId, PortSetId, RulesetId};
use policy_core::{
    laws::{
        Facts, Tables,
        probe::leaks,
        strategies::{change, facts},
    },
    model::Change,
    plan::{Contents, PortSetEntry},
    resolve::Resolver,
};
use proptest::{collection::vec, prelude::*};

type Ports = Vec<PortSetEntry>;
type Direction = Option<(u32, Ports, bool)>;
type Endpoint = (
    EndpointId,
    Direction,
    Direction,
    Vec<IpAddr>,
    bool,
    u64,
    bool,
);

/// Tables with their numbers replaced: identities and rulesets by the order in which addresses and
/// endpoints name them, port sets by what they hold.
#[derive(Debug, PartialEq)]
struct Canonical {
    addresses: BTreeMap<IpAddr, (u32, Option<EndpointId>, bool)>,
    cidrs: BTreeMap<IpNet, u32>,
    endpoints: BTreeMap<u32, Endpoint>,
    rules: BTreeSet<(u32, u32, Ports)>,
    port_sets: usize,
}

fn canonical(tables: &Contents) -> Canonical {
    let mut identities: HashMap<IdentityId, u32> = (0..16).map(|n| (IdentityId(n), n)).collect();
    let mut rulesets: HashMap<RulesetId, u32> = HashMap::new();
    let mut rename = |id| {
        let next = identities.len() as u32;
        *identities.entry(id).or_insert(next)
    };
    let ports = |id: PortSetId| -> Ports {
        let mut ports = match id {
            PortSetId::DENY_ALL => Vec::new(),
            PortSetId::ALLOW_ALL => vec![PortSetEntry {
                range: policy_core::plan::PortRange::AnyProtocol,
                verdict: policy_common::Verdict::ALLOW,
            }],
            _ => tables.port_sets[&id].to_vec(),
        };
        ports.sort();
        ports
    };
    let sorted: BTreeMap<_, _> = tables.addresses.iter().collect();
    let addresses = sorted
        .into_iter()
        .map(|(&address, value)| (address, (rename(value.identity), value.owner, value.host)))
        .collect();
    let cidrs = tables
        .cidrs
        .iter()
        .map(|(&net, &identity)| (net, rename(identity)))
        .collect();
    let endpoints = tables
        .endpoints
        .iter()
        .map(|(&ifindex, entry)| {
            let mut direction = |entry: Option<policy_core::plan::DirectionEntry>| {
                let entry = entry?;
                let next = rulesets.len() as u32;
                let ruleset = *rulesets.entry(entry.ruleset).or_insert(next);
                Some((ruleset, ports(entry.default_ports), entry.has_blocks))
            };
            let ingress = direction(entry.ingress);
            let egress = direction(entry.egress);
            let addresses = entry.addresses.clone();
            let entry = (
                entry.id,
                ingress,
                egress,
                addresses,
                entry.unknown,
                entry.pod_tag,
                entry.services_later,
            );
            (ifindex, entry)
        })
        .collect();
    let rules = tables
        .rules
        .iter()
        .map(|(&(ruleset, identity), &set)| (rulesets[&ruleset], identities[&identity], ports(set)))
        .collect();
    Canonical {
        addresses,
        cidrs,
        endpoints,
        rules,
        port_sets: tables.port_sets.len(),
    }
}

/// Some changes, the facts that they lead to, and changes that lead there in another order.
fn histories() -> impl Strategy<Value = (Facts, Vec<(Change, u8)>, Vec<Change>)> {
    (facts(), vec((change(), 0..10_u8), 0..30)).prop_flat_map(|(start, history)| {
        let mut end = start.clone();
        history.iter().for_each(|(change, _)| end.apply(change));
        let shuffled = Just(end.changes().collect::<Vec<_>>()).prop_shuffle();
        (Just(start), Just(history), shuffled)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_history_leaves_the_tables_of_a_full_compile((start, history, end) in histories()) {
        let (mut resolver, mut tables) = (Resolver::new(), Tables::default());
        start.changes().for_each(|change| resolver.apply(change));
        tables.execute_all(&resolver.commit());
        for (change, then) in history {
            resolver.apply(change);
            if then > 3 {
                tables.execute_all(&resolver.commit());
            }
            if then > 7 {
                tables.execute_all(&resolver.collect());
                prop_assert_eq!(leaks(tables.contents()), [] as [String; 0]);
            }
        }
        tables.execute_all(&resolver.commit());

        // Restart before the collection: everything that is in the tables is written again.
        let mut restarted = Tables::default();
        restarted.execute_all(&resolver.full());
        restarted.execute_all(&resolver.collect());
        prop_assert_eq!(restarted.problems(), &[] as &[String]);

        let mut again = Resolver::new();
        end.into_iter().for_each(|change| again.apply(change));
        let mut full = Tables::default();
        full.execute_all(&again.commit());
        prop_assert_eq!(again.collect(), []);
        let views = |resolver: &Resolver| format!("{:?}", resolver.endpoints().collect::<Vec<_>>());
        prop_assert_eq!(views(&resolver), views(&again));
        prop_assert_eq!(canonical(restarted.contents()), canonical(full.contents()));
        prop_assert_eq!(leaks(restarted.contents()), [] as [String; 0]);
        prop_assert_eq!(resolver.commit(), []);
        prop_assert_eq!(resolver.collect(), []);
    }
}
