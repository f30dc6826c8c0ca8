//! Questions that only the loop can answer: those about its model.
//!
//! Invariant: an answer takes a look at the facts and waits for nothing.

use std::{collections::BTreeMap, net::IpAddr, sync::mpsc::SyncSender};

use super::Agent;
use crate::{
    ask::{Answer, Packet, PartyArgument},
    datapath::TableSizes,
};

/// A question, and to whom the answer goes.
pub(super) struct Question {
    pub(super) from: PartyArgument,
    pub(super) to: PartyArgument,
    pub(super) packet: Option<Packet>,
    pub(super) source: Option<IpAddr>,
    pub(super) reply: SyncSender<Result<Outline, String>>,
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

impl Agent {
    /// Answers a question.
    pub(super) fn on_question(&self, question: Question) {
        let Question {
            from,
            to,
            packet,
            source,
            reply,
        } = question;
        // Who asked may have gone away.
        drop(reply.send(self.outline(from, to, packet, source)));
    }

    fn outline(
        &self,
        from: PartyArgument,
        to: PartyArgument,
        packet: Option<Packet>,
        source: Option<IpAddr>,
    ) -> Result<Outline, String> {
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
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
