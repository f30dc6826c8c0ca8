//! Ways round the programs: devices inside pods that go through to the node, interfaces at which programs
//! would not see all traffic, and interfaces that vanish while their pods run on.
//!
//! A process with CAP_NET_ADMIN in the node's user namespace can make and remove links of the node by the
//! peer of its own pod's interface; programs cannot prevent that. Owns what is known of it and what was said.
//! Invariant: each is said once, and shown for as long as it lasts.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use policy_core::model::ObjectName;

use super::{Agent, UnenforcedInterface, budget::Budget, ports::is_enforceable};
use crate::node::{Child, InterfaceKind, NetnsKey};

/// What is made so long after the first link of a sandbox came with it: a pod does not run yet.
const SET_UP: Duration = Duration::from_secs(2);
/// How long a runtime may take from a pod's interface to its object.
const TEARDOWN: Duration = Duration::from_secs(10);
/// Devices of one sandbox that are shown one by one.
const MOST_EACH: usize = 16;

/// What helps against what a pod does to the node's links.
const CONTAIN: &str = "a process with CAP_NET_ADMIN in the node's user namespace can do that: give the pod a \
     user namespace of its own (hostUsers: false) or take the capability from it";

/// What is known of ways.
#[derive(Debug, Default)]
pub(super) struct Ways {
    children: BTreeMap<(NetnsKey, u32), Way>,
    lost: BTreeMap<ObjectName, Lost>,
    /// The first list of devices has come.
    is_begun: bool,
    /// Something changed since the last look.
    is_stale: bool,
    said: BTreeSet<String>,
    budget: Budget,
}

/// A device that goes through to the node.
#[derive(Debug)]
struct Way {
    child: Child,
    /// It came when the sandbox was set up long ago.
    is_late: bool,
    /// The sandbox is a pod's.
    is_pods: bool,
    pod: Option<ObjectName>,
}

/// A pod that runs on without its interface.
#[derive(Debug)]
struct Lost {
    /// Tells the pod from others of its name.
    tag: u64,
    /// The index that it had; 0: an earlier run's.
    ifindex: u32,
    interface: String,
    due: Instant,
    is_said: bool,
    /// Somebody moved it to another namespace.
    has_moved: bool,
}

/// Something that is not enforced, and whether somebody is at it.
struct Finding {
    is_attack: bool,
    /// What makes it another one than those that were said.
    key: String,
    shown: UnenforcedInterface,
}

impl Finding {
    fn new(is_attack: bool, shown: UnenforcedInterface) -> Self {
        let key = format!("{} {:?} {}", shown.interface, shown.pod, shown.reason);
        Self {
            is_attack,
            key,
            shown,
        }
    }
}

impl Ways {
    /// Interfaces or pods changed.
    pub(super) fn changed(&mut self) {
        self.is_stale = true;
    }

    /// When somebody's end is due next.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let due = self.lost.values().map(|lost| lost.due);
        let due = due.chain(self.budget.due());
        due.filter(|due| *due > now).min()
    }
}

impl Agent {
    /// All devices of sandboxes that go through to this node.
    pub(super) fn children(&mut self, children: Vec<Child>, now: Instant) {
        let place = |child: &Child| (child.netns, child.ifindex);
        let present: BTreeSet<_> = children.iter().map(place).collect();
        self.ways
            .children
            .retain(|place, _| present.contains(place));
        for child in children {
            self.child(child, now);
        }
        self.ways.is_begun = true;
        self.ways.is_stale = true;
    }

    /// One of them appeared or changed.
    pub(super) fn child(&mut self, child: Child, now: Instant) {
        let is_late = self.ways.is_begun && self.is_set_up(child.netns, None, now);
        self.ways.is_stale = true;
        let place = (child.netns, child.ifindex);
        if let Some(way) = self.ways.children.get_mut(&place) {
            way.child = child;
            return;
        }
        let way = Way {
            child,
            is_late,
            is_pods: false,
            pod: None,
        };
        self.ways.children.insert(place, way);
    }

    /// One of them is gone.
    pub(super) fn child_gone(&mut self, netns: NetnsKey, ifindex: u32) {
        self.ways.children.remove(&(netns, ifindex));
        self.ways.is_stale = true;
    }

    /// Whether a sandbox has had a pod's interface, another than this one, for so long that its pod runs.
    pub(super) fn is_set_up(&self, netns: NetnsKey, but: Option<u32>, now: Instant) -> bool {
        self.ports.iter().any(|(ifindex, port)| {
            Some(ifindex) != but
                && port.recorded
                && port.netns() == Some(netns)
                && (port.since.is_none_or(|since| now - since >= SET_UP)
                    || self.binder.is_running(ifindex))
        })
    }

    /// The interface of a pod, of this index and name, is gone, and the pod not yet.
    pub(super) fn lost(
        &mut self,
        pod: ObjectName,
        tag: u64,
        (ifindex, interface): (u32, String),
        now: Instant,
    ) {
        let lost = Lost {
            tag,
            ifindex,
            interface,
            due: now + TEARDOWN,
            is_said: false,
            has_moved: false,
        };
        self.ways.lost.insert(pod, lost);
    }

    /// The interface that had this index went to another namespace. No runtime does that to take a pod down.
    pub(super) fn lost_by_move(&mut self, ifindex: u32, now: Instant) {
        let mut lost = self.ways.lost.values_mut();
        if let Some(lost) = lost.find(|lost| lost.ifindex == ifindex) {
            (lost.has_moved, lost.due) = (true, now);
        }
    }

    /// The name of the interface that the pod of this tag lost.
    pub(super) fn lost_name(&self, tag: u64) -> Option<String> {
        let mut lost = self.ways.lost.values();
        let lost = lost.find(|lost| lost.tag == tag)?;
        Some(lost.interface.clone())
    }

    /// Says what is new.
    pub(super) fn report_ways(&mut self, now: Instant) {
        if !self.phase.is_begun() {
            return;
        }
        let binder = &self.binder;
        let (before, stale) = (self.ways.lost.len(), self.ways.is_stale);
        self.ways
            .lost
            .retain(|pod, lost| binder.is_without_interface(pod, lost.tag));
        let mut is_due = false;
        for lost in self.ways.lost.values_mut() {
            let is_new = !lost.is_said && lost.due <= now;
            lost.is_said |= is_new;
            is_due |= is_new;
        }
        let unsaid = self.ways.budget.renew(now);
        if unsaid > 0 {
            tracing::error!(
                "{unsaid} more interfaces and devices that are not enforced came, which `status` lists"
            );
        }
        if !stale && !is_due && before == self.ways.lost.len() {
            return;
        }
        self.ways.is_stale = false;
        self.pace.changed = true;
        self.name_ways();
        let mut said = BTreeSet::new();
        for finding in self.findings(now) {
            let Finding {
                is_attack,
                key,
                shown,
            } = finding;
            if !self.ways.said.contains(&key) && self.ways.budget.spend(now) {
                let UnenforcedInterface {
                    interface,
                    pod,
                    reason,
                    remedy,
                    ..
                } = shown;
                if is_attack {
                    tracing::error!(pod, remedy, "{interface}: {reason}");
                } else {
                    tracing::warn!(
                        pod,
                        remedy,
                        "interface {interface} is not enforced: {reason}"
                    );
                }
            }
            said.insert(key);
        }
        self.ways.said = said;
    }

    /// Finds out whose the sandboxes of new devices are: for good, since a pod can remove its interface.
    fn name_ways(&mut self) {
        for way in self.ways.children.values_mut() {
            let mut ports = self.ports.iter();
            let port =
                ports.find(|(_, port)| port.netns() == Some(way.child.netns) && port.recorded);
            if let Some((ifindex, _)) = port {
                way.is_pods = true;
                way.pod = self.binder.pod_behind(ifindex).cloned().or(way.pod.take());
            }
        }
    }

    /// What `status` shows of it.
    pub(super) fn ways(&self) -> impl Iterator<Item = UnenforcedInterface> {
        let findings = self.findings(Instant::now()).into_iter();
        findings.map(|finding| finding.shown)
    }

    /// Devices that go through to the node in sandboxes that are no pods'.
    pub(super) fn other_ways(&self) -> impl Iterator<Item = String> {
        let others = self.ways.children.values().filter(|way| !way.is_pods);
        others.map(|way| format!("{} ({})", way.child.name, self.stands_on(&way.child)))
    }

    fn stands_on(&self, child: &Child) -> String {
        match child.below {
            Some(below) => format!("a {} of the node's {}", child.kind, self.ports.name(below)),
            None => format!("a {} whose outer packets are the node's", child.kind),
        }
    }

    fn findings(&self, now: Instant) -> Vec<Finding> {
        let mut findings: Vec<_> = self.outside_tc().collect();
        let mut counts: BTreeMap<NetnsKey, (usize, Option<&ObjectName>)> = BTreeMap::new();
        for way in self.ways.children.values().filter(|way| way.is_pods) {
            let (count, pod) = counts.entry(way.child.netns).or_default();
            *count += 1;
            *pod = way.pod.as_ref().or(*pod);
            if *count <= MOST_EACH {
                findings.push(self.through(way));
            }
        }
        let more = counts.into_iter();
        let more = more.filter(|(_, (count, _))| *count > MOST_EACH);
        findings.extend(more.map(|(netns, (count, pod))| Finding {
            is_attack: true,
            // However many they become.
            key: format!("further devices {netns}"),
            shown: UnenforcedInterface {
                interface: "further devices".into(),
                pod: pod.map(ToString::to_string),
                reason: format!("the pod has {count} that go through to the node"),
                remedy: Some(CONTAIN.into()),
                is_way_round: true,
            },
        }));
        findings.extend(self.late_links());
        let lost = self.ways.lost.iter().filter(|(_, lost)| lost.due <= now);
        findings.extend(lost.map(|(pod, lost)| {
            let what = if lost.has_moved {
                "moved to another network namespace"
            } else {
                "removed"
            };
            let shown = UnenforcedInterface {
                interface: lost.interface.clone(),
                pod: Some(pod.to_string()),
                reason: format!("it was {what} while its pod runs on"),
                remedy: Some(format!("if the pod's runtime did not do that: {CONTAIN}")),
                is_way_round: true,
            };
            Finding::new(true, shown)
        }));
        findings
    }

    fn through(&self, way: &Way) -> Finding {
        let stands = self.stands_on(&way.child);
        let (reason, remedy) = if way.is_late {
            (
                format!("{stands} was made inside a running pod, and passes no program of the pod"),
                Some(format!(
                    "unless a plugin adds interfaces to running pods: {CONTAIN}"
                )),
            )
        } else {
            (
                format!("{stands} inside a pod passes no program of the pod"),
                None,
            )
        };
        let shown = UnenforcedInterface {
            interface: way.child.name.to_string(),
            pod: way.pod.as_ref().map(ToString::to_string),
            reason,
            remedy,
            is_way_round: true,
        };
        Finding::new(way.is_late, shown)
    }

    /// Interfaces of the node that lead into pods that had theirs long before.
    fn late_links(&self) -> impl Iterator<Item = Finding> {
        let late = self.ports.iter();
        late.filter(|(_, port)| port.is_late_link())
            .map(|(ifindex, port)| {
                let with_pod = |other: &u32| self.binder.pod_behind(*other).is_some();
                let others = self
                    .ports
                    .iter()
                    .filter(|(_, one)| one.netns() == port.netns());
                let pod = others.map(|(other, _)| other).find(with_pod);
                let pod = pod.and_then(|other| self.binder.pod_behind(other));
                let shown = UnenforcedInterface {
                    interface: self.ports.name(ifindex),
                    pod: pod.map(ToString::to_string),
                    reason: "it was added to a running pod, and has no program".into(),
                    remedy: Some(format!(
                        "unless a plugin adds interfaces to running pods: {CONTAIN}"
                    )),
                    is_way_round: true,
                };
                Finding::new(true, shown)
            })
    }

    /// Interfaces into other namespaces whose traffic does not pass TC here as a veth's does.
    fn outside_tc(&self) -> impl Iterator<Item = Finding> {
        let interfaces = self.ports.iter();
        interfaces
            .filter_map(|(_, port)| port.interface.as_ref())
            .filter(|one| one.sandbox.is_some() && !is_enforceable(one))
            .map(|one| {
                let remedy = "let the container network plugin make veth pairs";
                let shown = UnenforcedInterface {
                    interface: one.name.to_string(),
                    pod: None,
                    reason: format!("interfaces of kind {} are not enforced", one.kind),
                    remedy: (one.kind == InterfaceKind::Netkit).then(|| remedy.into()),
                    is_way_round: true,
                };
                Finding::new(false, shown)
            })
    }
}
