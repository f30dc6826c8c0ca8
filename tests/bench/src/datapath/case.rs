//! One kind of packet at one program: measured, and checked to be what it claims to be.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, ensure};
use policy_agent::datapath::Datapath;
use policy_common::{Direction, Reason, names};

use super::{scene::Scene, scene::Subject};
use crate::{
    cpu, cpu::Pinned, interleave::Pair, interleave::Rounds, interleave::TC_ACT_SHOT,
    interleave::TC_ACT_UNSPEC, summary::Summary,
};
use policy_bpf::{Dealer, Field, Run, empty};

/// A packet and what becomes of it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// The pod at whose interface it is.
    pub(crate) subject: Subject,
    /// From the pod's side: says which program.
    pub(crate) direction: Direction,
    /// The packet.
    pub(crate) frame: Vec<u8>,
    /// What differs from packet to packet.
    pub(crate) fields: Vec<Field>,
    /// What the program must count every packet under.
    pub(crate) reason: Reason,
    /// Every packet leaves a flow behind.
    pub(crate) inserts: bool,
}

impl Case {
    /// Always the same packet.
    pub(crate) fn hot(
        subject: Subject,
        direction: Direction,
        frame: Vec<u8>,
        reason: Reason,
    ) -> Self {
        Self {
            subject,
            direction,
            frame,
            fields: Vec::new(),
            reason,
            inserts: false,
        }
    }

    /// With another packet in every run.
    pub(crate) fn dealt(self, fields: Vec<Field>) -> Self {
        Self { fields, ..self }
    }

    /// Where every packet opens a flow.
    pub(crate) fn inserting(self) -> Self {
        Self {
            inserts: true,
            ..self
        }
    }

    /// What it costs above the empty program.
    ///
    /// # Errors
    /// A packet did not get the verdict, or went another way.
    pub(crate) fn measure(&self, scene: &mut Scene, rounds: Rounds) -> Result<Summary> {
        self.measure_with(scene, rounds, |_| Ok(()))
    }

    /// The same, with something to do after every run of the program.
    pub(crate) fn measure_with(
        &self,
        scene: &mut Scene,
        rounds: Rounds,
        mut after_run: impl FnMut(&mut Scene) -> Result<()>,
    ) -> Result<Summary> {
        let (pair, _dealers) = self.pair(scene)?;
        let paths = Paths::read(&scene.datapath)?;
        let summary = Self::compare(&pair, rounds, || {
            if self.inserts {
                let flows = scene.forget_flows()?;
                ensure!(
                    flows == rounds.repeat as usize,
                    "{flows} new flows of {} packets",
                    rounds.repeat
                );
            }
            after_run(scene)
        })?;
        self.check(&paths, &scene.datapath, rounds)?;
        Ok(summary)
    }

    /// Compares on one processor.
    pub(crate) fn compare(
        pair: &Pair,
        rounds: Rounds,
        after_run: impl FnMut() -> Result<()>,
    ) -> Result<Summary> {
        let _pinned = Pinned::to(cpu::last()?)?;
        pair.compare(rounds, after_run)
    }

    /// Every packet of a comparison went the way of this case.
    pub(crate) fn check(&self, paths: &Paths, datapath: &Datapath, rounds: Rounds) -> Result<()> {
        paths.check(datapath, self.direction, self.reason, rounds.packets())
    }

    /// Runs it `repeat` times without measuring, from the first packet on: to make flows.
    ///
    /// # Errors
    /// A packet did not get the verdict, or went another way.
    pub(crate) fn send(&self, scene: &mut Scene, repeat: u32) -> Result<()> {
        let (pair, _dealers) = self.pair(scene)?;
        let paths = Paths::read(&scene.datapath)?;
        let (action, _) = pair.subject.repeat(repeat)?;
        ensure!(action == self.action(), "returned {action}");
        paths.check(&scene.datapath, self.direction, self.reason, repeat.into())
    }

    fn action(&self) -> i32 {
        if self.reason.is_drop() {
            TC_ACT_SHOT
        } else {
            TC_ACT_UNSPEC
        }
    }

    /// The program and the empty one, both behind dealers if packets differ.
    pub(crate) fn pair(&self, scene: &mut Scene) -> Result<(Pair, Vec<Dealer>)> {
        let name = match self.direction {
            Direction::Ingress => names::TO_POD,
            Direction::Egress => names::FROM_POD,
        };
        let mut programs = [scene.datapath.programs.descriptor(name)?, empty()?];
        let mut dealers = Vec::new();
        if !self.fields.is_empty() {
            for program in &mut programs {
                let dealer = Dealer::new(&self.fields, program.as_fd()).context("a dealer")?;
                *program = dealer.program()?;
                dealers.push(dealer);
            }
        }
        let context = self.subject.origin(self.direction).context();
        let [subject, baseline] = programs.map(|program| Run::new(program, &self.frame, &context));
        let pair = Pair {
            subject,
            baseline,
            action: self.action(),
        };
        Ok((pair, dealers))
    }
}

/// What the programs have counted so far.
pub(crate) struct Paths(Vec<(Direction, Reason, u64)>);

impl Paths {
    pub(crate) fn read(datapath: &Datapath) -> Result<Self> {
        let counters = datapath.counters()?;
        Ok(Self(
            counters
                .into_iter()
                .map(|(direction, reason, counter)| (direction, reason, counter.packets))
                .collect(),
        ))
    }

    /// Every packet since then went one way.
    ///
    /// # Errors
    /// They went others, or there were more or fewer.
    pub(crate) fn check(
        &self,
        datapath: &Datapath,
        direction: Direction,
        reason: Reason,
        packets: u64,
    ) -> Result<()> {
        let mut taken = Vec::new();
        for (direction, reason, now) in Self::read(datapath)?.0 {
            let before = self
                .0
                .iter()
                .find(|(other, counted, _)| *other == direction && *counted == reason)
                .map_or(0, |(.., packets)| *packets);
            if now > before {
                taken.push((direction, reason, now - before));
            }
        }
        ensure!(
            taken == [(direction, reason, packets)],
            "{packets} packets should be counted as {} {}, but the programs counted {taken:?}",
            direction.name(),
            reason.name()
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use policy_common::Config;

    use super::*;
    use crate::{
        datapath::frames, datapath::frames::Family, datapath::scene::Cluster,
        datapath::scene::OPEN, datapath::scene::SHUT,
    };

    const ROUNDS: Rounds = Rounds {
        count: 1,
        repeat: 2,
    };

    fn syn(port: u16, reason: Reason) -> Case {
        let ends = Subject::Isolated.called(Family::V4, port);
        let frame = frames::syn(ends, Direction::Ingress);
        Case::hot(Subject::Isolated, Direction::Ingress, frame, reason)
    }

    #[test]
    fn a_case_that_takes_another_path_than_it_says_is_an_error() {
        let mut scene = Scene::new(Cluster::of_peers(1), Config::DEFAULT).unwrap();
        let mut error = |case: Case| case.measure(&mut scene, ROUNDS).unwrap_err().to_string();
        // The first packet opens a flow, and the others belong to it.
        let taken = error(syn(OPEN, Reason::Flow));
        assert!(taken.contains("counted"), "{taken}");
        let dropped = error(syn(SHUT, Reason::Allowed));
        assert!(dropped.contains("returned 2"), "{dropped}");
        let counted = error(syn(SHUT, Reason::FlowDenied));
        assert!(counted.contains("Policy"), "{counted}");
        let flows = error(syn(OPEN, Reason::Allowed).inserting());
        assert!(flows.contains("1 new flows of 2 packets"), "{flows}");
        syn(SHUT, Reason::Policy)
            .measure(&mut scene, ROUNDS)
            .unwrap();
    }
}
