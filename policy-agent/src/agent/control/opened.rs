//! New flows, for observers that want what is allowed.
//!
//! Owns a thread that compares the flow tables once a second while such an observer is there; without one it
//! sleeps, and the programs never know of it. Invariant: a table that takes long to read is read seldom.

use std::{
    collections::HashSet,
    io,
    net::IpAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use policy_common::FlowState;

use super::Desk;
use crate::{
    ask::Verdict,
    datapath::{self, FlowEntry},
    telemetry::{observed::Observed, tables::protocol_name},
};

/// How often the tables are read at most, and how much of the time goes into it.
const PAUSE: Duration = Duration::from_secs(1);
const SHARE: u32 = 10;
/// New flows that are told of at a time; of more at once, these.
const MOST: usize = 4_096;
/// Flows that are named at a time.
const AT_ONCE: usize = 1_024;

/// What makes a flow another one.
type Name = (u16, u8, IpAddr, u16, IpAddr, u16);

fn name(entry: &FlowEntry) -> Name {
    let FlowEntry {
        endpoint,
        protocol,
        pod,
        pod_port,
        peer,
        peer_port,
        ..
    } = *entry;
    (endpoint.0, protocol, pod, pod_port, peer, peer_port)
}

/// Starts the thread.
///
/// # Errors
/// It cannot be started.
pub(in crate::agent) fn watch(desk: Arc<Desk>) -> io::Result<()> {
    thread::Builder::new()
        .name("new flows".into())
        .spawn(move || {
            loop {
                desk.observers.await_allowed();
                desk.tell_opened();
            }
        })?;
    Ok(())
}

impl Desk {
    /// Tells of new flows as long as somebody wants to know.
    fn tell_opened(&self) {
        let mut known: Option<HashSet<Name>> = None;
        while self.observers.want_allowed() {
            let began = Instant::now();
            // Without an answer there are no news: what is not read now is read later.
            let Ok(flows) = datapath::flows(&self.pins) else {
                thread::sleep(PAUSE);
                continue;
            };
            if let Some(known) = &known {
                let fresh = flows
                    .iter()
                    .filter(|flow| flow.state.verdict.allows() && !known.contains(&name(flow)));
                let fresh: Vec<_> = fresh.copied().take(MOST).collect();
                fresh.chunks(AT_ONCE).for_each(|some| self.tell_some(some));
            }
            known = Some(flows.iter().map(name).collect());
            thread::sleep(PAUSE.max(began.elapsed().saturating_mul(SHARE)));
        }
    }

    fn tell_some(&self, flows: &[FlowEntry]) {
        let at = Timestamp::now().to_string();
        let Ok(names) = self.names(flows) else {
            return;
        };
        for (flow, named) in flows.iter().zip(names) {
            let is_pods = flow.state.opener == FlowState::OPENED_BY_POD;
            let (source_port, port) = match is_pods {
                true => (flow.pod_port, flow.peer_port),
                false => (flow.peer_port, flow.pod_port),
            };
            let some = |port: u16| (port != 0).then_some(port);
            self.observers.tell(Observed {
                at: at.clone(),
                verdict: Verdict::Allowed,
                direction: if is_pods { "egress" } else { "ingress" }.into(),
                interface: named.interface,
                pod: named.pod,
                peer_ip: Some(flow.peer),
                peer_pod: named.peer,
                peer_is_host: named.is_host,
                protocol: protocol_name(flow.protocol),
                source: None,
                source_port: some(source_port),
                port: some(port),
                reason: if named.policies.is_empty() {
                    "not-isolated"
                } else {
                    "allowed"
                }
                .into(),
                policies: named.policies,
                suppressed: 0,
            });
        }
    }
}
