//! Questions that only the loop can answer: those about its model.
//!
//! Invariant: an answer takes a look at the facts and waits for nothing.

use std::{collections::BTreeMap, net::IpAddr, sync::mpsc::SyncSender};

use policy_common::{Direction, EndpointId, FlowState};
use policy_core::model::ObjectName;

use super::Agent;
use crate::{
    ask::{Answer, Packet, PartyArgument},
    datapath::TableSizes,
    telemetry::tables::PolicyShown,
};

/// To whom an answer goes.
pub(super) type Reply<T> = SyncSender<Result<T, String>>;

/// What the loop is asked.
pub(super) enum Ask {
    /// Whether a packet passes.
    Packet(Question, Reply<Outline>),
    /// Who has a part in these flows.
    Names(Vec<ToName>, Reply<Vec<Named>>),
    /// Which policies there are, and whom they isolate.
    Policies(Reply<Vec<PolicyShown>>),
}

/// A question about a packet.
pub(super) struct Question {
    pub(super) from: PartyArgument,
    pub(super) to: PartyArgument,
    pub(super) packet: Option<Packet>,
    pub(super) source: Option<IpAddr>,
}

/// What the model says, and where maps and programs can be asked.
pub(super) struct Outline {
    pub(super) answer: Answer,
    /// The interfaces of the pods of this node that have a part in it.
    pub(super) interfaces: BTreeMap<String, u32>,
    /// Addresses of this node, one of each family.
    pub(super) hosts: Vec<IpAddr>,
    /// The turn that was sent last.
    pub(super) turn: u64,
    /// The tables hold what the model says.
    pub(super) is_settled: bool,
    pub(super) sizes: TableSizes,
}

/// A flow whose names are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct ToName {
    pub(super) endpoint: EndpointId,
    pub(super) peer: IpAddr,
    /// The side that opened it.
    pub(super) opener: u8,
}

/// The names of a flow.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) pod: Option<String>,
    pub(super) interface: String,
    pub(super) peer: Option<String>,
    /// The other side is this host.
    pub(super) is_host: bool,
    pub(super) policies: Vec<String>,
}

impl Agent {
    /// Answers a question. Who asked may have gone away.
    pub(super) fn on_question(&self, ask: Ask) {
        match ask {
            Ask::Packet(question, reply) => drop(reply.send(self.outline(question))),
            Ask::Names(flows, reply) => {
                let named = flows.into_iter().map(|flow| self.named(flow));
                drop(reply.send(Ok(named.collect())));
            }
            Ask::Policies(reply) => drop(reply.send(Ok(self.policies()))),
        }
    }

    fn outline(&self, question: Question) -> Result<Outline, String> {
        let Question {
            from,
            to,
            packet,
            source,
        } = question;
        if !self.phase.is_begun() {
            return Err("the agent has not read everything yet".into());
        }
        let sender = from.clone();
        let answer = Answer::new(&self.resolver, from, to, packet);
        let mut answer = answer.map_err(|error| error.to_string())?;
        if let Some(source) = source {
            let owner = self.resolver.pod_at(source).map(ToString::to_string);
            answer.sent_from(source, owner == Some(sender.to_string()));
        }
        let pods: Vec<_> = answer.ends().map(|end| end.pod.to_owned()).collect();
        let endpoints = self.resolver.endpoints().filter_map(|endpoint| {
            let pod = endpoint.pod?.to_string();
            pods.contains(&pod).then_some((pod, endpoint.ifindex))
        });
        let is_plain = |address: &&IpAddr| !address.is_loopback() && !is_link_local(address);
        let of = |is_v4: bool| {
            let mut all = self.host_addresses.iter().filter(is_plain);
            all.find(|address| address.is_ipv4() == is_v4).copied()
        };
        Ok(Outline {
            interfaces: endpoints.collect(),
            answer,
            hosts: [of(true), of(false)].into_iter().flatten().collect(),
            turn: self.turn,
            is_settled: !self.dirty && self.written == self.turn && self.is_exact,
            sizes: self.sizes,
        })
    }

    fn named(&self, flow: ToName) -> Named {
        let direction = match flow.opener {
            FlowState::OPENED_BY_POD => Direction::Egress,
            _ => Direction::Ingress,
        };
        let policies = self.attribution.policies(flow.endpoint, direction);
        Named {
            pod: self.attribution.pod(flow.endpoint).map(ToString::to_string),
            interface: self.interface_of(flow.endpoint),
            peer: self.resolver.pod_at(flow.peer).map(ToString::to_string),
            is_host: self.host_addresses.contains(&flow.peer),
            policies: policies.iter().map(ToString::to_string).collect(),
        }
    }

    /// The name of an endpoint's interface; empty when it is gone.
    fn interface_of(&self, endpoint: EndpointId) -> String {
        let mut ports = self.ports.iter();
        let port = ports.find(|(_, port)| {
            let fact = port.fact.as_ref();
            fact.is_some_and(|fact| fact.id == endpoint)
        });
        port.map_or_else(String::new, |(ifindex, _)| self.ports.name(ifindex))
    }

    fn policies(&self) -> Vec<PolicyShown> {
        let all = self.resolver.policies().map(|policy| {
            let shown = PolicyShown {
                policy: policy.to_string(),
                ingress: Vec::new(),
                egress: Vec::new(),
            };
            (policy.clone(), shown)
        });
        let mut all: BTreeMap<ObjectName, PolicyShown> = all.collect();
        for endpoint in self.resolver.endpoints() {
            let Some(pod) = endpoint.pod else { continue };
            for policy in endpoint.ingress {
                if let Some(shown) = all.get_mut(policy) {
                    shown.ingress.push(pod.to_string());
                }
            }
            for policy in endpoint.egress {
                if let Some(shown) = all.get_mut(policy) {
                    shown.egress.push(pod.to_string());
                }
            }
        }
        all.into_values().collect()
    }
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
