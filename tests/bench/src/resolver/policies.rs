//! The policies of a generated cluster: a dozen kinds that clusters have, in every namespace.
//!
//! Invariant: policy `n` of a cluster is always the same.

use std::sync::Arc;

use policy_core::model::{
    IpBlock, ObjectName, PeerMatch, Peers, PolicyFact, PortMatch, Ports, Protocol, Requirement,
    Rule, Selector,
};

use super::cluster::{App, Cluster, ENVIRONMENTS, Tenant};

fn arc(text: &str) -> Arc<str> {
    text.into()
}

fn is(key: &str, value: &str) -> Requirement {
    Requirement::In(arc(key), vec![arc(value)])
}

fn any_of(key: &str, values: &[&str]) -> Requirement {
    Requirement::In(arc(key), values.iter().map(|value| arc(value)).collect())
}

fn with<const N: usize>(requirements: [Requirement; N]) -> Selector {
    Selector::new(requirements)
}

fn namespace(name: &str) -> Selector {
    with([is("kubernetes.io/metadata.name", name)])
}

fn pods(namespaces: Option<Selector>, pods: Selector) -> PeerMatch {
    PeerMatch::Pods { namespaces, pods }
}

/// A block; `cidr` and `except` are literals or made from numbers, and valid.
pub(super) fn block(cidr: &str, except: &[&str]) -> anyhow::Result<PeerMatch> {
    let except: Result<Vec<ipnet::IpNet>, _> = except.iter().map(|net| net.parse()).collect();
    Ok(PeerMatch::Block(IpBlock {
        cidr: cidr.parse()?,
        except: except?,
    }))
}

fn tcp(first: u16, last: u16) -> PortMatch {
    PortMatch::Range(Protocol::Tcp, first, last)
}

fn named(name: &str) -> PortMatch {
    PortMatch::Named(Protocol::Tcp, arc(name))
}

fn allow(peers: Vec<PeerMatch>, ports: Vec<PortMatch>) -> Rule {
    Rule {
        peers: Peers::AnyOf(peers),
        ports: match ports.is_empty() {
            true => Ports::All,
            false => Ports::AnyOf(ports),
        },
    }
}

/// The namespace of a policy.
fn tenant(cluster: &Cluster, index: usize) -> &Tenant {
    &cluster.tenants[index % cluster.tenants.len()]
}

/// Policy number `index`. Namespaces take turns, and so do kinds.
pub(super) fn policy(cluster: &Cluster, index: usize) -> anyhow::Result<PolicyFact> {
    let tenant = tenant(cluster, index);
    let turn = index / cluster.tenants.len();
    let (kind, round) = (turn % 12, turn / 12);
    let app = |offset: usize| -> App { tenant.apps[(round + offset) % tenant.apps.len()] };
    let of_app = |offset| with([is("app", app(offset).name)]);
    let net = index % 250;
    let all = Selector::everything;
    let (subjects, ingress, egress) = match kind {
        // Everything is denied that nothing else allows.
        0 if round == 0 => (all(), Some(vec![]), Some(vec![])),
        // Names are resolved.
        1 if round == 0 => {
            let dns = pods(
                Some(namespace("kube-system")),
                with([is("app", "kube-dns")]),
            );
            let ports = vec![PortMatch::Range(Protocol::Udp, 53, 53), tcp(53, 53)];
            (all(), None, Some(vec![allow(vec![dns], ports)]))
        }
        // Metrics are scraped.
        2 if round == 0 => {
            let prometheus = with([is("app.kubernetes.io/name", "prometheus")]);
            let from = pods(Some(namespace("monitoring")), prometheus);
            (
                all(),
                Some(vec![allow(vec![from], vec![named("metrics")])]),
                None,
            )
        }
        // Frontends are reached through the ingress controller.
        3 => {
            let from = pods(Some(namespace("ingress-nginx")), all());
            let subjects = with([is("tier", "frontend")]);
            let ports = vec![named("http"), tcp(8443, 8443 + round as u16)];
            (subjects, Some(vec![allow(vec![from], ports)]), None)
        }
        // One workload calls another, of the same namespace.
        4 | 0 => {
            let names = [app(1).name, app(2).name];
            let from = pods(None, with([any_of("app", &names)]));
            let ports = vec![tcp(app_port(round), app_port(round)), tcp(8000, 8100)];
            (of_app(0), Some(vec![allow(vec![from], ports)]), None)
        }
        5 | 1 => {
            let to = pods(None, of_app(0));
            let database = pods(None, with([is("tier", "data")]));
            let egress = vec![
                allow(vec![to], vec![named("http")]),
                allow(vec![database], vec![named("db"), tcp(5432, 5432)]),
            ];
            (of_app(1), None, Some(egress))
        }
        // Namespaces of one team reach each other.
        6 => {
            let team = with([is("team", &format!("team-{}", tenant.team))]);
            let tiers = with([any_of("tier", &["frontend", "backend"])]);
            let from = pods(Some(team), tiers);
            let not_data = Requirement::NotIn(arc("tier"), vec![arc("data")]);
            let ports = vec![tcp(30_000, 32_767), PortMatch::AnyPort(Protocol::Sctp)];
            (with([not_data]), Some(vec![allow(vec![from], ports)]), None)
        }
        // The internet, without private networks.
        7 => {
            let v4 = [
                "10.0.0.0/8",
                "169.254.169.254/32",
                "172.16.0.0/12",
                "192.168.0.0/16",
            ];
            let to = vec![block("0.0.0.0/0", &v4)?, block("::/0", &["fd00::/8"])?];
            let ports = vec![tcp(443, 443), PortMatch::Range(Protocol::Udp, 443, 443)];
            (
                with([any_of("tier", &["frontend", "batch"])]),
                None,
                Some(vec![allow(to, ports)]),
            )
        }
        // Networks outside of the cluster, with exceptions.
        8 => {
            let except = [
                format!("172.20.{net}.64/28"),
                format!("172.20.{net}.128/25"),
            ];
            let except = [except[0].as_str(), &except[1]];
            let lan = block(&format!("172.20.{net}.0/24"), &except)?;
            let office = block(&format!("192.168.{}.0/22", net & !3), &[])?;
            let rule = allow(vec![lan, office], vec![tcp(1024, 65_535)]);
            (of_app(0), Some(vec![rule]), None)
        }
        // Databases: their clients, and their own replicas.
        9 | 2 => {
            let client = pods(None, with([is("db-client", "true")]));
            let replica = Requirement::Exists(arc("statefulset.kubernetes.io/pod-name"));
            let replica = pods(None, with([is("tier", "data"), replica]));
            let ports = vec![named("db"), tcp(6000, 6000 + round as u16)];
            let rules = vec![allow(vec![client], ports), allow(vec![replica], vec![])];
            (with([is("tier", "data")]), Some(rules), None)
        }
        // Interfaces that other teams offer.
        10 => {
            let team = is(
                "team",
                &format!("team-{}", (tenant.team + 1) % cluster.teams),
            );
            let there = with([team, is("env", ENVIRONMENTS[round % ENVIRONMENTS.len()])]);
            let api = pods(Some(there), with([any_of("app", &["api", "gateway"])]));
            let rule = allow(vec![api], vec![named("http"), tcp(9000, 9099)]);
            (of_app(2), None, Some(vec![rule]))
        }
        // Jobs reach nodes and the database.
        _ => {
            let job = Requirement::Exists(arc("batch.kubernetes.io/job-name"));
            let database = pods(None, with([is("tier", "data")]));
            let metadata = block("169.254.169.254/32", &[])?;
            let nodes = block(&format!("100.64.{}.0/22", net & !3), &[])?;
            let egress = vec![
                allow(vec![database], vec![named("db")]),
                allow(
                    vec![metadata, nodes],
                    vec![tcp(80, 80), PortMatch::AnyPort(Protocol::Udp)],
                ),
            ];
            (with([job]), None, Some(egress))
        }
    };
    Ok(PolicyFact {
        name: ObjectName::new(tenant.name.as_str(), format!("policy-{index}")),
        subjects,
        ingress,
        egress,
    })
}

fn app_port(round: usize) -> u16 {
    5000 + (round % 1000) as u16
}
