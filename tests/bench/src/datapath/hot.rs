//! Pods without policy, and packets of connections that are already known.

use anyhow::{Result, ensure};
use policy_common::{Config, Direction, Reason};

use super::{
    Bench, ESTABLISHED, FREE, case::Case, frames, frames::Family, scene::CLIENT, scene::Cluster,
    scene::OPEN, scene::Scene, scene::Subject,
};
use crate::report::Parameters;
use policy_bpf::Draw;
use policy_harness::wire::transport::flag;

/// The peers that the random flows are spread over.
const PEERS: u32 = 100;
const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

/// A pod that no policy selects.
pub(super) fn free(bench: &mut Bench<'_>) -> Result<()> {
    if !bench.wants(FREE) {
        return Ok(());
    }
    let mut scene = Scene::new(Cluster::of_peers(PEERS), Config::DEFAULT)?;
    for family in Family::ALL {
        for direction in DIRECTIONS {
            let frame = frames::ack(Subject::Free.called(family, OPEN), direction);
            let case = Case::hot(Subject::Free, direction, frame, Reason::NotIsolated);
            let parameters = parameters(family, direction);
            bench.measure(FREE, &parameters, &case, &mut scene, Some(12.0))?;
        }
    }
    Ok(())
}

/// Packets of both directions of established connections, of one and of many.
pub(super) fn established(bench: &mut Bench<'_>) -> Result<()> {
    if !bench.wants(ESTABLISHED) {
        return Ok(());
    }
    let mut scene = Scene::new(Cluster::of_peers(PEERS), Config::DEFAULT)?;
    for family in Family::ALL {
        for per_peer in [0, 10, 100, 1_000] {
            let flows = Flows::establish(&mut scene, family, per_peer)?;
            for direction in DIRECTIONS {
                let mut parameters = parameters(family, direction);
                parameters.push("flows", flows.count());
                let case = flows.case(direction);
                let bar = match (flows.count(), family) {
                    (1, Family::V4) => Some(25.0),
                    (1, Family::V6) => Some(30.0),
                    (100_000, _) => Some(190.0),
                    _ => None,
                };
                bench.measure(ESTABLISHED, &parameters, &case, &mut scene, bar)?;
            }
            let forgotten = scene.forget_flows()?;
            ensure!(
                forgotten == flows.count() as usize,
                "{forgotten} flows instead of {}",
                flows.count()
            );
        }
    }
    Ok(())
}

/// Established TCP connections of peers to the isolated pod.
pub(crate) struct Flows {
    family: Family,
    /// 0: one flow of one peer.
    per_peer: u32,
}

impl Flows {
    /// Of the first hundred peers; they may not be there yet.
    pub(crate) const fn of(family: Family, per_peer: u32) -> Self {
        Self { family, per_peer }
    }

    /// Has every peer connect: SYN, SYN-ACK and ACK of all of them pass through the programs.
    pub(crate) fn establish(scene: &mut Scene, family: Family, per_peer: u32) -> Result<Self> {
        let flows = Self::of(family, per_peer);
        for (direction, flags, reason) in [
            (Direction::Ingress, flag::SYN, Reason::Allowed),
            (Direction::Egress, flag::SYN | flag::ACK, Reason::Flow),
            (Direction::Ingress, flag::ACK, Reason::Flow),
        ] {
            let each = (
                Draw::InTurn {
                    every: per_peer,
                    count: PEERS,
                },
                Draw::InTurn {
                    every: 1,
                    count: per_peer,
                },
            );
            let segment = flows.segment(direction, flags, reason, each);
            segment.send(scene, flows.count())?;
        }
        Ok(flows)
    }

    /// How many there are.
    pub(super) const fn count(&self) -> u32 {
        if self.per_peer == 0 {
            1
        } else {
            self.per_peer * PEERS
        }
    }

    /// A segment of any of them.
    pub(crate) fn case(&self, direction: Direction) -> Case {
        let any = (Draw::Random(PEERS), Draw::Random(self.per_peer));
        self.segment(direction, flag::ACK, Reason::Flow, any)
    }

    fn segment(
        &self,
        direction: Direction,
        flags: u8,
        reason: Reason,
        (address, port): (Draw, Draw),
    ) -> Case {
        let ends = Subject::Isolated.called(self.family, OPEN);
        debug_assert_eq!(ends.peer.port(), CLIENT, "the first of the ports in turn");
        let frame = frames::tcp(ends, direction, flags);
        let case = Case::hot(Subject::Isolated, direction, frame, reason);
        if self.per_peer == 0 {
            return case;
        }
        case.dealt(vec![
            frames::peer_address(ends.peer.ip(), direction, address),
            frames::peer_port(ends.peer, direction, port),
        ])
    }
}

pub(super) fn parameters(family: Family, direction: Direction) -> Parameters {
    let mut parameters = Parameters::default();
    parameters.push("family", family.name());
    parameters.push("direction", direction.name());
    parameters
}
