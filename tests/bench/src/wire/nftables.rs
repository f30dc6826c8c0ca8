//! The policies as kube-router writes them for nftables.
//!
//! Per policy a chain and two sets (its pods, its peers), per pod of this node a chain that every
//! packet from and to the pod goes through: first the established connections, then one policy after
//! the other – also after one allowed the packet, which only leaves a mark –, at the end a reject of
//! what bears no mark. kube-router dispatches by one rule per pod and direction; here are only the
//! two pods', as if the node had no others.

use std::{fmt::Write as _, net::Ipv4Addr};

use super::cluster::{CLIENT, OPEN_PORT, Policies, SERVER, Selected};

/// The table that the script makes.
pub(super) const TABLE: &str = "kube-router-filter-ipv4";
/// The chain of what concerns every packet of a pod.
pub(super) const COMMON: &str = "KUBE-NWPLCY-COMMON";

/// The chain of a policy.
pub(super) fn chain(policy: usize) -> String {
    format!("KUBE-NWPLCY-{policy}")
}

/// A script for `nft -f`.
pub(super) fn script(policies: Policies) -> String {
    let mut script = format!(
        "table ip {TABLE} {{\n\
         chain {COMMON} {{\n\
         ct state invalid counter drop\n\
         ct state established,related counter accept\n\
         icmp type echo-request counter accept\n\
         icmp type destination-unreachable counter accept\n\
         icmp type time-exceeded counter accept\n\
         }}\n\
         chain KUBE-NWPLCY-DEFAULT {{\ncounter meta mark set meta mark or 0x10000\n}}\n"
    );
    for policy in 0..policies.count {
        script.push_str(&one(policies, policy));
    }
    let client = policies.selected == Selected::Both;
    script.push_str(&pod(policies, "server", SERVER, true, client));
    script.push_str(&pod(policies, "client", CLIENT, client, client));
    script.push_str("chain KUBE-ROUTER-FORWARD {\ntype filter hook forward priority filter;\n");
    for (name, address) in [("server", SERVER), ("client", CLIENT)] {
        for side in ["daddr", "saddr"] {
            // Writing to a string does not fail.
            let _ = writeln!(
                script,
                "ip {side} {address} counter jump KUBE-POD-FW-{name}"
            );
        }
    }
    script.push_str("meta mark and 0x20000 == 0x20000 counter accept\n}\n}\n");
    script
}

/// The sets and the chain of one policy.
fn one(policies: Policies, policy: usize) -> String {
    let set = |name: &str, addresses: &[Ipv4Addr]| {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let addresses = addresses.join(", ");
        format!("set {name}-{policy} {{ type ipv4_addr; elements = {{ {addresses} }} }}\n")
    };
    let mut text = set("KUBE-DST", policies.targets());
    text += &set("KUBE-SRC", &policies.peers(policy));
    text += &format!("chain {} {{\n", chain(policy));
    let port = policies.port(policy);
    let mut rule = |source: &str, destination: &str| {
        for protocol in ["tcp", "udp"] {
            let _ = writeln!(
                text,
                "ip saddr @{source}-{policy} ip daddr @{destination}-{policy} {protocol} dport {port} counter meta mark \
                 set meta mark or 0x10000 return"
            );
        }
    };
    rule("KUBE-SRC", "KUBE-DST");
    if policies.selected == Selected::Both {
        rule("KUBE-DST", "KUBE-SRC");
    }
    text + "}\n"
}

/// The chain of one pod, which policies select for ingress, egress, both or not at all.
fn pod(policies: Policies, name: &str, address: Ipv4Addr, ingress: bool, egress: bool) -> String {
    let mut text = format!(
        "chain KUBE-POD-FW-{name} {{\n\
         counter jump {COMMON}\n\
         fib saddr type local ip daddr {address} counter accept\n"
    );
    let only = match (ingress, egress) {
        (true, true) => Some(String::new()),
        (true, false) => Some(format!("ip daddr {address} ")),
        (false, true) => Some(format!("ip saddr {address} ")),
        (false, false) => None,
    };
    if let Some(only) = only {
        for policy in 0..policies.count {
            let _ = writeln!(text, "{only}counter jump {}", chain(policy));
        }
    }
    for (selects, side) in [(egress, "saddr"), (ingress, "daddr")] {
        if !selects {
            let _ = writeln!(text, "ip {side} {address} counter jump KUBE-NWPLCY-DEFAULT");
        }
    }
    text + "meta mark and 0x10000 == 0x0 limit rate 10/minute burst 10 packets log group 100\n\
            meta mark and 0x10000 == 0x0 counter reject\n\
            meta mark set meta mark and 0xfffeffff\n\
            meta mark set meta mark or 0x20000\n\
            }\n"
}

/// Packets that a listing of one chain counted in the rules that contain `rule`.
pub(super) fn counted(listing: &str, rule: &str) -> u64 {
    let lines = listing.lines().filter(|line| line.contains(rule));
    let packets = lines.filter_map(|line| {
        let (_, rest) = line.split_once("counter packets ")?;
        rest.split(' ').next()?.parse::<u64>().ok()
    });
    packets.sum()
}

/// The text by which [`counted`] finds the rule for connections over the open port.
pub(super) fn open_rule(protocol: &str) -> String {
    format!("{protocol} dport {OPEN_PORT}")
}
