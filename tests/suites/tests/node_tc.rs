//! Who stands in an interface's chain of TC programs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use anyhow::Result;
use aya::programs::TcAttachType::{self, Egress, Ingress};
use policy_agent::datapath::chain::{self, Attachment, Chain};
use policy_harness::{
    Foreign, Netns,
    foreign::Place::{Clsact, TcxFirst, TcxLast},
};

/// `TC_ACT_UNSPEC`
const UNSPEC: i32 = -1;

fn chain(host: &Netns, hook: TcAttachType) -> Chain {
    let ifindex = host.ifindex("d0").unwrap();
    host.run(|| chain::chain(ifindex, hook)).unwrap().unwrap()
}

fn names(chain: &Chain) -> Vec<&str> {
    chain
        .entries
        .iter()
        .map(|entry| entry.name.as_str())
        .collect()
}

/// The chain once it is as wanted, or as it is after a while: a process that another test is starting
/// has a copy of every descriptor until it runs, and so keeps a link.
fn chain_becomes(host: &Netns, is_wanted: impl Fn(&Chain) -> bool) -> Chain {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let found = chain(host, Ingress);
        if is_wanted(&found) || Instant::now() > deadline {
            return found;
        }
        std::thread::yield_now();
    }
}

fn host() -> Netns {
    let host = Netns::new("node-h").unwrap();
    host.ip(&["link add d0 type ifb"]).unwrap();
    host
}

fn programs<const N: usize>(names: [&str; N]) -> [Foreign; N] {
    names.map(|name| Foreign::returning(name, UNSPEC).unwrap())
}

#[test]
fn a_chain_lists_tcx_before_clsact_in_the_order_of_their_run() -> Result<()> {
    let host = host();
    assert_eq!(chain(&host, Ingress), Chain::default());
    let [mut late, mut early, mut second, mut first] =
        programs(["late", "early", "second", "first"]);
    let at_last = late.attach(&host, "d0", Ingress, Clsact(9))?;
    let in_between = early.attach(&host, "d0", Ingress, Clsact(2))?;
    let behind = second.attach(&host, "d0", Ingress, TcxLast)?;
    let attached = first.attach(&host, "d0", Ingress, TcxFirst)?;
    let all = chain(&host, Ingress);
    assert_eq!(names(&all), ["first", "second", "early", "late"]);
    let ids: Vec<_> = all.entries.iter().map(|entry| entry.prog_id).collect();
    let expected = [&first, &second, &early, &late].map(|program| Some(program.id()));
    assert_eq!(ids, expected);
    assert_eq!(all.entries[1].attachment, Attachment::Tcx);
    assert_eq!(
        all.entries[2].attachment,
        Attachment::Clsact {
            preference: 2,
            handle: 1
        }
    );
    assert_eq!(chain(&host, Egress), Chain::default(), "the other hook");

    assert_eq!(all.before(early.id()).len(), 2);
    assert!(all.contains(late.id()));
    drop(attached);
    let rest = chain_becomes(&host, |chain| !chain.contains(first.id()));
    assert!(!rest.contains(first.id()));
    assert!(rest.before(second.id()).is_empty());
    assert_eq!(
        rest.before(first.id()).len(),
        3,
        "not there: everything runs without it"
    );
    drop(in_between);
    assert!(chain(&host, Ingress).contains(late.id()));
    drop((at_last, behind));
    let empty = chain_becomes(&host, |chain| *chain == Chain::default());
    assert_eq!(empty, Chain::default());
    assert!(!chain(&host, Ingress).contains(early.id()));
    Ok(())
}

#[test]
fn a_filter_that_is_no_program_is_listed_by_its_kind() -> Result<()> {
    let host = host();
    host.exec("tc", &["qdisc", "add", "dev", "d0", "clsact"])?;
    let filter = "filter add dev d0 egress pref 3 protocol ip u32 match u32 0 0";
    host.exec("tc", &filter.split(' ').collect::<Vec<_>>())?;
    let all = chain(&host, Egress);
    assert!(names(&all).iter().all(|name| *name == "u32"), "{all:?}");
    let preference = |attachment| matches!(attachment, Attachment::Clsact { preference: 3, .. });
    assert!(all.entries.iter().any(|entry| preference(entry.attachment)));
    assert!(all.entries.iter().all(|entry| entry.prog_id.is_none()));
    Ok(())
}

#[test]
fn an_interface_that_is_gone_has_an_empty_chain() {
    let host = host();
    let found = host.run(|| chain::chain(4_000, Ingress)).unwrap().unwrap();
    assert_eq!(found, Chain::default());
}
