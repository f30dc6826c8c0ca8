//! What stands in an agent's way: full tables, also ones that cannot grow, others' programs, interfaces on
//! which nothing can be attached and that come and go, numbers that run out.
//!
//! Nothing here may change what the pods of the scene may do or hear: the pods that come and go are silent,
//! their interfaces are down.

use std::collections::BTreeMap;

use aya::programs::TcAttachType;
use policy_harness::{
    Attach, Foreign, Netns, Wiring,
    cluster::pod_manifest,
    foreign::{Attached, Place},
    topology::{BRIDGE, INSIDE},
};

use crate::{
    growth::{FEW_FILES, blocks},
    random::Random,
    scene::{Scene, addresses, policy},
};

/// Lets a packet pass on to whoever stands behind.
const UNSPEC: i32 = -1;
/// Programs that one TCX hook takes (`BPF_MPROG_MAX`).
const TCX_LIMIT: usize = 64;
/// Pods that come and go, at a time.
const MOST_FLEETING: usize = 4;
/// How many of them may be there when the agent is to enforce all: with the scene's four all numbers are
/// taken.
const CALM_FLEETING: usize = 2;
/// Endpoint numbers of the agent.
pub(crate) const MOST_ENDPOINTS: &str = "6";

/// A pod that comes, perhaps with a full hook, and goes.
struct Fleeting {
    name: String,
    interface: String,
    /// Fill a hook.
    blocks: Vec<(Attached, Foreign)>,
    has_qdisc: bool,
    _netns: Netns,
}

/// The kind that makes programs move.
const TO_THE_FRONT: &str = "somebody goes to the front";

/// What there is of it.
#[derive(Default)]
pub(crate) struct Troubles {
    others: Vec<(Attached, Foreign)>,
    fleeting: Vec<Fleeting>,
    made: u8,
    /// How often there was which kind.
    pub(crate) tally: BTreeMap<&'static str, u32>,
}

impl Troubles {
    /// One kind of trouble, or none.
    pub(crate) fn happen(&mut self, scene: &Scene, random: &mut Random) {
        let kind = match random.below(10) {
            0 => {
                let number = [0, 10, 60, 300, 900][random.below(5) as usize];
                let text = policy("shop", "blocks", &blocks(number));
                scene.cluster.write("policy-blocks.yaml", &text).unwrap();
                "tables fill or empty"
            }
            1 if self.others.len() < 3 => {
                self.go_first(scene);
                TO_THE_FRONT
            }
            1 => {
                self.others.clear();
                "somebody goes away from the front"
            }
            2 => {
                let color = ["red", "blue"][random.below(2) as usize];
                let spec = format!("{{podSelector: {{matchLabels: {{color: {color}}}}}}}");
                let text = policy("shop", "color", &spec);
                scene.cluster.write("policy-color.yaml", &text).unwrap();
                "a policy changes nothing"
            }
            3 if self.fleeting.len() < MOST_FLEETING => {
                self.come(scene, false);
                "a pod comes"
            }
            4 if self.fleeting.len() < MOST_FLEETING => {
                self.come(scene, true);
                "a pod comes on whose interface nothing can be attached"
            }
            3 | 4 => {
                self.unblock(scene);
                "there is room for programs again"
            }
            5 if !self.fleeting.is_empty() => {
                let which = random.below(self.fleeting.len() as u64) as usize;
                self.go(scene, which, false);
                "an interface is removed"
            }
            6 if !self.fleeting.is_empty() => {
                let which = random.below(self.fleeting.len() as u64) as usize;
                self.go(scene, which, true);
                "a network namespace is removed"
            }
            7 if self.may_grow(scene, random.below(2) == 0) => "tables can grow no more, or again",
            _ => return,
        };
        *self.tally.entry(kind).or_default() += 1;
    }

    /// Whether programs may have moved before somebody else's.
    pub(crate) fn have_moved(&self) -> bool {
        self.tally.contains_key(TO_THE_FRONT)
    }

    /// Ends what keeps an agent from enforcing everything.
    pub(crate) fn end(&mut self, scene: &Scene) {
        self.others.clear();
        self.unblock(scene);
        while self.fleeting.len() > CALM_FLEETING {
            self.go(scene, 0, false);
        }
    }

    /// Whether an agent that enforces can load no further programs from now on, or can again.
    fn may_grow(&self, scene: &Scene, may: bool) -> bool {
        let agent = &scene.cluster.agent;
        let enforces = agent.status().is_ok_and(|status| status.agent.enforcing);
        enforces && agent.spare_files((!may).then_some(FEW_FILES)).is_ok()
    }

    fn go_first(&mut self, scene: &Scene) {
        let mut foreign = Foreign::returning("lifecycle_kills", UNSPEC).unwrap();
        let web = scene.cluster.pod("shop/web").unwrap();
        let place = match scene.cluster.agent.attach() {
            Attach::Tcx => Place::TcxFirst,
            Attach::Clsact => Place::Clsact(1),
        };
        let host = scene.netns("host");
        let attached = foreign.attach(host, &web.interface, TcAttachType::Egress, place);
        // The qdisc may be another's at this moment.
        if let Ok(attached) = attached {
            self.others.push((attached, foreign));
        }
    }

    /// A pod of an isolated namespace, whose interface is down at both ends.
    fn come(&mut self, scene: &Scene, is_blocked: bool) {
        self.made = (self.made + 1) % 200;
        let number = 100 + self.made % 100;
        let host = scene.netns("host");
        let netns = Netns::new("lifecycle-fleeting").unwrap();
        let interface = format!("fleet{number}");
        let mut commands = vec![format!(
            "link add {interface} type veth peer name {INSIDE} netns {}",
            netns.name()
        )];
        if scene.cluster.node.wiring() == Wiring::Bridged {
            commands.push(format!("link set {interface} master {BRIDGE}"));
        }
        host.ip(&commands).unwrap();
        let mut fleeting = Fleeting {
            name: format!("fleeting-{number}"),
            interface,
            blocks: Vec::new(),
            has_qdisc: false,
            _netns: netns,
        };
        if is_blocked {
            fleeting.block(scene, self.made.is_multiple_of(2));
        }
        let [v4, v6] = addresses(number);
        let own = [
            format!("addr add {v4}/32 dev {INSIDE}"),
            format!("addr add {v6}/128 dev {INSIDE}"),
        ];
        fleeting._netns.ip(&own).unwrap();
        let text = pod_manifest("shop", &fleeting.name, "app: fleeting", &[&v4, &v6]);
        scene.cluster.write(&fleeting.file(), &text).unwrap();
        self.fleeting.push(fleeting);
    }

    fn unblock(&mut self, scene: &Scene) {
        for fleeting in &mut self.fleeting {
            fleeting.unblock(scene);
        }
    }

    /// Its interface goes, at once or when the kernel gets round to its namespace.
    fn go(&mut self, scene: &Scene, which: usize, with_namespace: bool) {
        let fleeting = self.fleeting.remove(which);
        if !with_namespace {
            let command = format!("link del {}", fleeting.interface);
            scene.netns("host").ip(&[command]).unwrap();
        }
        std::fs::remove_file(scene.cluster.manifests().join(fleeting.file())).unwrap();
    }
}

impl Fleeting {
    fn file(&self) -> String {
        format!("pod-{}.yaml", self.name)
    }

    /// Leaves no room for a program of the agent.
    fn block(&mut self, scene: &Scene, on_ingress: bool) {
        let host = scene.netns("host");
        match scene.cluster.agent.attach() {
            Attach::Tcx => {
                let hook = if on_ingress {
                    TcAttachType::Ingress
                } else {
                    TcAttachType::Egress
                };
                for _ in 0..TCX_LIMIT {
                    let mut foreign = Foreign::returning("lifecycle_full", UNSPEC).unwrap();
                    // The agent may have been faster.
                    let attached = foreign.attach(host, &self.interface, hook, Place::TcxLast);
                    let Ok(attached) = attached else { break };
                    self.blocks.push((attached, foreign));
                }
            }
            Attach::Clsact => {
                let qdisc = format!("qdisc add dev {} ingress", self.interface);
                let words: Vec<_> = qdisc.split_whitespace().collect();
                self.has_qdisc = host.exec("tc", &words).is_ok();
            }
        }
    }

    fn unblock(&mut self, scene: &Scene) {
        self.blocks.clear();
        if std::mem::take(&mut self.has_qdisc) {
            let qdisc = format!("qdisc del dev {} ingress", self.interface);
            let words: Vec<_> = qdisc.split_whitespace().collect();
            scene.netns("host").exec("tc", &words).unwrap();
        }
    }
}
