//! Flows and policies, with names.
//!
//! Invariant: the loop names a bounded number at a time, between its turns.

use std::{collections::BTreeMap, io};

use policy_common::EndpointId;

use super::Desk;
use crate::{
    agent::{
        causes,
        questions::{Ask, ToName},
    },
    control::Client,
    datapath::{self, FlowEntry},
    telemetry::tables::FlowShown,
};

/// Flows that are named at a time, and said in one line.
const AT_ONCE: usize = 1_024;

impl Desk {
    /// Says all flows, of one pod if it is named, in lines of many.
    pub(super) fn flows(&self, pod: Option<&str>, client: &mut Client) -> io::Result<()> {
        let read = || -> Result<(Vec<FlowEntry>, BTreeMap<EndpointId, u32>), String> {
            let flows = datapath::flows(&self.pins).map_err(|error| causes(&error))?;
            let endpoints = self.pins.endpoints().map_err(|error| causes(&error))?;
            let epochs = endpoints.iter().map(|one| (one.id, one.epoch));
            Ok((flows, epochs.collect()))
        };
        let (entries, epochs) = match read() {
            Ok(read) => read,
            Err(why) => return client.refuse(why),
        };
        let clock = self.clock();
        let (now, hz) = match clock {
            Ok(clock) => clock,
            Err(why) => return client.refuse(why),
        };
        for entries in entries.chunks(AT_ONCE) {
            let names = self.names(entries);
            let names = match names {
                Ok(names) => names,
                Err(why) => return client.refuse(why),
            };
            let shown = entries.iter().zip(names).map(|(entry, named)| FlowShown {
                pod: named.pod,
                peer_pod: named.peer,
                policies: named.policies,
                ..FlowShown::new(entry, now, hz, epochs.get(&entry.endpoint).copied())
            });
            let wanted = |flow: &FlowShown| pod.is_none_or(|pod| flow.pod.as_deref() == Some(pod));
            let shown: Vec<_> = shown.filter(wanted).collect();
            if !shown.is_empty() {
                client.say(&shown)?;
            }
        }
        Ok(())
    }

    /// Who has a part in these flows, and by which policies.
    pub(super) fn names(
        &self,
        entries: &[FlowEntry],
    ) -> Result<Vec<crate::agent::questions::Named>, String> {
        let wanted = entries.iter().map(|entry| ToName {
            endpoint: entry.endpoint,
            peer: entry.peer,
            opener: entry.state.opener,
        });
        let wanted = wanted.collect();
        self.ask(|reply| Ask::Names(wanted, reply))
    }

    /// Says all policies.
    pub(super) fn policies(&self, client: &mut Client) -> io::Result<()> {
        match self.ask(Ask::Policies) {
            Ok(policies) => client.say(&policies),
            Err(why) => client.refuse(why),
        }
    }
}
