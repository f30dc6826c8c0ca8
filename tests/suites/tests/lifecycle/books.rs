//! The books of a node: what the programs counted beside what the interfaces carried and the senders sent.
//!
//! Invariant: a packet on the interface of a pod is counted once, whichever generation judges it.

use std::{collections::BTreeMap, fs, thread, time::Duration};

use aya::maps::{Map, MapData, PerCpuArray};
use policy_common::{Direction, Reason, names};

use crate::scene::{Scene, eventually};

/// How long interfaces carry nothing before the books are read.
const REST: Duration = Duration::from_millis(200);

/// Packets by direction and reason.
type Counted = BTreeMap<(&'static str, &'static str), u64>;

/// What pods' interfaces carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Carried {
    /// From the pods.
    egress: u64,
    /// To the pods.
    ingress: u64,
}

/// A page of the books, read while nothing moved.
#[derive(Debug)]
pub(crate) struct Books {
    counted: Counted,
    carried: Carried,
    repeated: u64,
}

impl Books {
    /// Reads them once nothing moves.
    pub(crate) fn read(scene: &Scene) -> Self {
        let mut page = None;
        eventually("nothing moves", || {
            let before = carried(scene);
            thread::sleep(REST);
            let counted = counted(scene);
            thread::sleep(REST);
            let carried = carried(scene);
            page = (carried == before).then_some(Self {
                counted,
                carried,
                repeated: repeated(scene),
            });
            page.is_some()
        });
        page.unwrap()
    }

    /// What was counted since, without what did not change.
    pub(crate) fn counted_since(&self, scene: &Scene) -> Counted {
        difference(&self.counted, counted(scene))
    }

    /// How many SYNs were sent again since, as a busy machine makes who sends one that is forbidden: of so
    /// many packets nobody can tell whether they were.
    pub(crate) fn repeated_since(&self, scene: &Scene) -> u64 {
        repeated(scene) - self.repeated
    }

    /// Every packet since was counted once, and so many of them were dropped, all for want of a rule; besides,
    /// so many at most as were `interrupted`. Where
    /// programs moved before somebody else's, packets to pods may have been counted more than once: for a
    /// moment two copies of the program stand there, and what passes one is judged by the other.
    ///
    /// Returns what was counted, and how much of it more than once.
    #[track_caller]
    pub(crate) fn agree(
        &self,
        scene: &Scene,
        (forbidden, interrupted): (u64, u64),
        have_moved: bool,
    ) -> (Counted, u64) {
        let now = Self::read(scene);
        let counted = difference(&self.counted, now.counted);
        let sum = |wanted: Direction, drops: Option<bool>| -> u64 {
            let of = counted.iter().filter(|((direction, reason), _)| {
                *direction == wanted.name() && drops.is_none_or(|drops| is_drop(reason) == drops)
            });
            of.map(|(_, packets)| packets).sum()
        };
        let seen = Carried {
            egress: sum(Direction::Egress, None),
            ingress: sum(Direction::Ingress, Some(false)),
        };
        let carried = Carried {
            egress: now.carried.egress - self.carried.egress,
            ingress: now.carried.ingress - self.carried.ingress,
        };
        let again = seen.ingress.saturating_sub(carried.ingress);
        let counted_once = Carried {
            ingress: seen.ingress - if have_moved { again } else { 0 },
            ..seen
        };
        assert_eq!(counted_once, carried, "counted and carried: {counted:?}");
        let drops: Counted = counted
            .iter()
            .filter(|((_, reason), _)| is_drop(reason))
            .map(|(key, packets)| (*key, *packets))
            .collect();
        let of = |reason: Reason| drops.get(&(Direction::Ingress.name(), reason.name()));
        let of = |reason: Reason| of(reason).copied().unwrap_or_default();
        let (by_policy, by_flow) = (of(Reason::Policy), of(Reason::FlowDenied));
        let most = forbidden + now.repeated - self.repeated + interrupted;
        assert!(
            drops.values().sum::<u64>() == by_policy + by_flow
                && by_flow <= interrupted
                && (forbidden..=most).contains(&(by_policy + by_flow)),
            "dropped, and {forbidden} to {most} forbidden, {interrupted} interrupted: {counted:?}"
        );
        (counted, again)
    }
}

/// Whether packets of a reason with this name are dropped.
pub(crate) fn is_drop(name: &str) -> bool {
    let mut all = Reason::ALL.iter();
    all.any(|reason| reason.name() == name && reason.is_drop())
}

fn difference(before: &Counted, mut now: Counted) -> Counted {
    for (key, packets) in &mut now {
        *packets -= before.get(key).copied().unwrap_or_default();
    }
    now.retain(|_, packets| *packets > 0);
    now
}

/// METRICS, summed over the processors, whether an agent runs or not.
fn counted(scene: &Scene) -> Counted {
    let pin = scene.cluster.agent.pin_path().join(names::METRICS);
    let map = Map::from_map_data(MapData::from_pin(pin).unwrap()).unwrap();
    let metrics: PerCpuArray<_, [u64; 2]> = map.try_into().unwrap();
    let mut counted = Counted::new();
    for direction in [Direction::Ingress, Direction::Egress] {
        for reason in Reason::ALL {
            let slot = direction as u32 * Reason::COUNT + *reason as u32;
            let packets: u64 = metrics
                .get(&slot, 0)
                .unwrap()
                .iter()
                .map(|one| one[0])
                .sum();
            if packets > 0 {
                counted.insert((direction.name(), reason.name()), packets);
            }
        }
    }
    counted
}

/// SYNs that the senders of what is forbidden sent again.
fn repeated(scene: &Scene) -> u64 {
    let read = || fs::read_to_string("/proc/thread-self/net/netstat");
    let of = |name: &str| -> u64 {
        let text = scene.netns(name).run(read).unwrap().unwrap();
        let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
        let (names, numbers) = (lines.next().unwrap(), lines.next().unwrap());
        let mut all = names.split(' ').zip(numbers.split(' '));
        let found = all.find(|(name, _)| *name == "TCPSynRetrans");
        found.unwrap().1.parse().unwrap()
    };
    of("other/stranger") + of("outside")
}

/// What the kernel counted at the host's ends of the pods' pairs. What a pair had no room for had passed
/// the programs.
fn carried(scene: &Scene) -> Carried {
    let read = || fs::read_to_string("/proc/thread-self/net/dev");
    let text = scene.netns("host").run(read).unwrap().unwrap();
    let mut carried = Carried::default();
    for line in text.lines() {
        let Some((name, numbers)) = line.split_once(':') else {
            continue;
        };
        if !scene
            .cluster
            .node
            .pods()
            .iter()
            .any(|pod| pod.interface == name.trim())
        {
            continue;
        }
        let numbers: Vec<u64> = numbers
            .split_whitespace()
            .map(|one| one.parse().unwrap())
            .collect();
        // Eight columns of what was received, then those of what was sent: bytes, packets, errors, drops.
        carried.egress += numbers[1];
        carried.ingress += numbers[9] + numbers[11];
    }
    carried
}
