//! Packets that find no flow: evaluated against the rules, and allowed or not.

use anyhow::Result;
use policy_common::{Config, Direction, Reason};

use super::{
    BLOCKS, Bench, EVALUATE, INSERT, case::Case, frames, frames::Ends, frames::Family,
    hot::parameters, scene, scene::CLIENT, scene::Cluster, scene::OPEN, scene::SHUT,
    scene::Subject,
};
use policy_bpf::{Draw, Field};

/// Clients' ports in turn: more than a run has packets, so that each of them is another flow
/// whoever the peer is.
const PORTS: u32 = (u16::MAX - CLIENT) as u32;
const ONE_PORT: u32 = 1;
/// Peers, the bar of an evaluation, and of one that ends in a new flow.
const PEERS: [(u32, f64, f64); 4] = [
    (10, 45.0, 260.0),
    (1_000, 60.0, 280.0),
    (16_000, 110.0, 310.0),
    (100_000, 200.0, 380.0),
];
const BLOCK_COUNTS: [u32; 4] = [10, 100, 1_000, 10_000];

/// Peers that are random among those that a policy allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strangers {
    /// The family of their addresses.
    pub(crate) family: Family,
    /// From the pod's side.
    pub(crate) direction: Direction,
    /// Addresses that follow each other.
    pub(crate) count: u32,
    /// Whether they lie in blocks instead of being pods.
    pub(crate) in_blocks: bool,
}

impl Strangers {
    /// They try the wrong port: the way through the rules, nothing remembered. Every peer tries
    /// from one port, again and again.
    pub(crate) fn refused(self) -> Case {
        self.opening(SHUT, Reason::Policy, ONE_PORT)
    }

    /// The same from changing ports: the flow table is asked in another place every time.
    pub(crate) fn refused_anywhere(self) -> Case {
        self.opening(SHUT, Reason::Policy, PORTS)
    }

    /// They open a connection, every packet a new one.
    pub(crate) fn admitted(self) -> Case {
        self.opening(OPEN, Reason::Allowed, PORTS).inserting()
    }

    /// The same for two senders at once, who have half of the ports each.
    pub(crate) fn admitted_apart(self) -> [Case; 2] {
        let half = PORTS / 2;
        [0, half].map(|skipped| {
            self.opening_from(skipped, OPEN, Reason::Allowed, half)
                .inserting()
        })
    }

    fn opening(self, port: u16, reason: Reason, client_ports: u32) -> Case {
        self.opening_from(0, port, reason, client_ports)
    }

    fn opening_from(self, skipped: u32, port: u16, reason: Reason, client_ports: u32) -> Case {
        let Self {
            family, direction, ..
        } = self;
        let mut ends = match direction {
            Direction::Ingress => Subject::Isolated.called(family, port),
            Direction::Egress => Subject::Isolated.calling(family, port),
        };
        if self.in_blocks {
            ends.peer.set_ip(scene::first_in_blocks(family));
        }
        let frame = frames::syn(ends, direction);
        Case::hot(Subject::Isolated, direction, frame, reason).dealt(self.fields(
            ends,
            skipped,
            client_ports,
        ))
    }

    fn fields(self, ends: Ends, skipped: u32, client_ports: u32) -> Vec<Field> {
        let address = Draw::Random(self.count);
        let port = Draw::InTurn {
            every: 1,
            count: client_ports,
        };
        let client = frames::client_port(ends, self.direction, port);
        vec![
            frames::peer_address(ends.peer.ip(), self.direction, address),
            Field {
                base: client.base + skipped,
                ..client
            },
        ]
    }
}

/// Right peer and wrong port, and both right, against peers of growing number.
pub(super) fn peers(bench: &mut Bench<'_>) -> Result<()> {
    if !bench.wants(EVALUATE) && !bench.wants(INSERT) {
        return Ok(());
    }
    for (count, evaluate, insert) in PEERS {
        let doing = format!("a cluster of {count} peers");
        let mut scene = bench.scene(&doing, Cluster::of_peers(count), QUIET)?;
        for (family, direction) in WAYS {
            let mut parameters = parameters(family, direction);
            parameters.push("peers", count);
            let strangers = Strangers {
                family,
                direction,
                count,
                in_blocks: false,
            };
            for (name, ports, case, bar) in [
                (EVALUATE, ONE_PORT, strangers.refused(), Some(evaluate)),
                (EVALUATE, PORTS, strangers.refused_anywhere(), None),
                (INSERT, PORTS, strangers.admitted(), Some(insert)),
            ] {
                if bench.wants(name) {
                    let mut parameters = parameters.clone();
                    parameters.push("client_ports", ports);
                    bench.measure(name, &parameters, &case, &mut scene, bar)?;
                }
            }
        }
    }
    Ok(())
}

/// The same against blocks.
pub(super) fn blocks(bench: &mut Bench<'_>) -> Result<()> {
    if !bench.wants(BLOCKS) {
        return Ok(());
    }
    for blocks in BLOCK_COUNTS {
        let cluster = Cluster {
            blocks,
            ..Cluster::of_peers(PEERS_BESIDE)
        };
        let mut scene = bench.scene(&format!("{blocks} blocks"), cluster, QUIET)?;
        for family in Family::ALL {
            let direction = Direction::Ingress;
            let strangers = Strangers {
                family,
                direction,
                count: blocks * scene::BLOCK_ADDRESSES,
                in_blocks: true,
            };
            for (path, case) in [
                (EVALUATE, strangers.refused()),
                (INSERT, strangers.admitted()),
            ] {
                let mut parameters = parameters(family, direction);
                parameters.push("blocks", blocks);
                parameters.push("path", path);
                bench.measure(BLOCKS, &parameters, &case, &mut scene, None)?;
            }
        }
    }
    Ok(())
}

/// An endpoint has one event per second: what is denied is counted only. Not zero, which the
/// verifier would make a shorter program of than the agent's.
pub(crate) const QUIET: Config = Config {
    event_rate: 1,
    event_burst: 1,
    ..Config::DEFAULT
};
/// Peers of the scenes whose blocks matter.
const PEERS_BESIDE: u32 = 10;
/// Both families, and both directions of one.
const WAYS: [(Family, Direction); 3] = [
    (Family::V4, Direction::Ingress),
    (Family::V4, Direction::Egress),
    (Family::V6, Direction::Ingress),
];
