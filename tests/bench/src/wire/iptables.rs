//! The policies as kube-router writes them for iptables and ipset.
//!
//! The same shape as for nftables ([`super::nftables`]); each port of a policy takes two rules, one
//! that marks and one that returns, and each looks both addresses up in sets.

use std::{fmt::Write as _, net::Ipv4Addr};

use super::cluster::{CLIENT, OPEN_PORT, Policies, SERVER, Selected};

/// The chain of what concerns every packet of a pod.
pub(super) const COMMON: &str = "KUBE-NWPLCY-COMMON";

/// The chain of a policy.
pub(super) fn chain(policy: usize) -> String {
    format!("KUBE-NWPLCY-{policy}")
}

/// The sets, for `ipset restore`.
pub(super) fn sets(policies: Policies) -> String {
    let mut text = String::new();
    for policy in 0..policies.count {
        let peers = policies.peers(policy);
        for (set, addresses) in [("KUBE-DST", policies.targets()), ("KUBE-SRC", &peers)] {
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "create {set}-{policy} hash:ip family inet hashsize 1024 maxelem 65536 timeout 0"
            );
            for address in addresses {
                let _ = writeln!(text, "add {set}-{policy} {address} timeout 0");
            }
        }
    }
    text
}

/// The rules, for `iptables-restore`.
pub(super) fn rules(policies: Policies) -> String {
    let mut chains = String::from("*filter\n:FORWARD ACCEPT [0:0]\n");
    for name in [
        COMMON,
        "KUBE-NWPLCY-DEFAULT",
        "KUBE-ROUTER-FORWARD",
        "KUBE-POD-FW-SERVER",
        "KUBE-POD-FW-CLIENT",
    ] {
        let _ = writeln!(chains, ":{name} - [0:0]");
    }
    let mut rules = format!(
        "-A FORWARD -j KUBE-ROUTER-FORWARD\n\
         -A {COMMON} -m conntrack --ctstate INVALID -j DROP\n\
         -A {COMMON} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
         -A {COMMON} -p icmp --icmp-type echo-request -j ACCEPT\n\
         -A {COMMON} -p icmp --icmp-type destination-unreachable -j ACCEPT\n\
         -A {COMMON} -p icmp --icmp-type time-exceeded -j ACCEPT\n\
         -A KUBE-NWPLCY-DEFAULT -j MARK --set-xmark 0x10000/0x10000\n"
    );
    for policy in 0..policies.count {
        let _ = writeln!(chains, ":{} - [0:0]", chain(policy));
        one(&mut rules, policies, policy);
    }
    let client = policies.selected == Selected::Both;
    pod(&mut rules, policies, "SERVER", SERVER, true, client);
    pod(&mut rules, policies, "CLIENT", CLIENT, client, client);
    for (name, address) in [("SERVER", SERVER), ("CLIENT", CLIENT)] {
        for side in ["-d", "-s"] {
            let _ = writeln!(
                rules,
                "-A KUBE-ROUTER-FORWARD {side} {address} -j KUBE-POD-FW-{name}"
            );
        }
    }
    rules.push_str("-A KUBE-ROUTER-FORWARD -m mark --mark 0x20000/0x20000 -j ACCEPT\nCOMMIT\n");
    chains + &rules
}

fn one(rules: &mut String, policies: Policies, policy: usize) {
    let chain = chain(policy);
    let port = policies.port(policy);
    let mut rule = |source: &str, destination: &str| {
        for protocol in ["tcp", "udp"] {
            let matches = format!(
                "-A {chain} -m set --match-set {source}-{policy} src -m set --match-set {destination}-{policy} dst \
                 -p {protocol} --dport {port}"
            );
            let _ = write!(
                rules,
                "{matches} -j MARK --set-xmark 0x10000/0x10000\n\
                 {matches} -m mark --mark 0x10000/0x10000 -j RETURN\n"
            );
        }
    };
    rule("KUBE-SRC", "KUBE-DST");
    if policies.selected == Selected::Both {
        rule("KUBE-DST", "KUBE-SRC");
    }
}

fn pod(
    rules: &mut String,
    policies: Policies,
    name: &str,
    address: Ipv4Addr,
    ingress: bool,
    egress: bool,
) {
    let chain_of_pod = format!("KUBE-POD-FW-{name}");
    let mut rule = |what: &str| {
        let _ = writeln!(rules, "-A {chain_of_pod} {what}");
    };
    rule(&format!("-j {COMMON}"));
    rule(&format!(
        "-m addrtype --src-type LOCAL -d {address} -j ACCEPT"
    ));
    let only = match (ingress, egress) {
        (true, true) => Some(String::new()),
        (true, false) => Some(format!("-d {address} ")),
        (false, true) => Some(format!("-s {address} ")),
        (false, false) => None,
    };
    if let Some(only) = only {
        for policy in 0..policies.count {
            rule(&format!("{only}-j {}", chain(policy)));
        }
    }
    for (selects, side) in [(egress, "-s"), (ingress, "-d")] {
        if !selects {
            rule(&format!("{side} {address} -j KUBE-NWPLCY-DEFAULT"));
        }
    }
    rule(
        "-m mark ! --mark 0x10000/0x10000 -m limit --limit 10/minute --limit-burst 10 -j NFLOG --nflog-group 100",
    );
    rule("-m mark ! --mark 0x10000/0x10000 -j REJECT");
    rule("-j MARK --set-xmark 0x0/0x10000");
    rule("-j MARK --set-xmark 0x20000/0x20000");
}

/// Packets that `iptables -nvxL CHAIN` counted in the rules that contain all of `words`.
pub(super) fn counted(listing: &str, words: &[&str]) -> u64 {
    let lines = listing
        .lines()
        .filter(|line| words.iter().all(|word| line.contains(word)));
    let packets = lines.filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    packets.sum()
}

/// The words by which [`counted`] finds the rule for connections over the open port.
pub(super) fn open_rule(protocol: &str) -> [String; 2] {
    [format!("{protocol} dpt:{OPEN_PORT}"), "MARK or".to_owned()]
}
