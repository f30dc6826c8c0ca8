//! Runs one case: its actions in order, its probes after each step.
//!
//! Knows neither the kernel nor the wire, only a `Ground`. Every verdict of the ground is held
//! against the case; the references of `compile` are asked beside it, so that no verdict is right
//! by accident and a failure says which part is wrong.

use anyhow::{Context, Result, ensure};
use policy_common::Direction;

use super::{
    case::Case,
    cluster::{Cluster, Host, Update},
    compile::{NodeAgent, Reference},
    endpoint::Family,
    ground::{Ground, Outcome, Placed},
    probe::{Probe, probes},
    regime,
    report::{CaseReport, Failure},
    step::{Action, AdmissionVerdict, Step},
    support,
    verdict::Sides,
};

/// Runs a case on the ground that `prepare` makes for its cluster.
pub(crate) fn run<G: Ground>(
    case: &Case,
    prepare: impl FnOnce(&Cluster) -> Result<G>,
) -> CaseReport {
    let mut report = CaseReport::new(case.id.clone());
    if let Some(what) = support::missing(case) {
        report.unsupported = Some(what);
        return report;
    }
    let mut running = match Running::begin(case, prepare) {
        Ok(running) => running,
        Err(error) => {
            report.note(Err(Failure::of_case(format!("cannot begin: {error:#}"))));
            return report;
        }
    };
    for (index, step) in case.steps.iter().enumerate() {
        report.begin_step(index + 1, &step.name);
        if let Err(error) = running.step(index, step, &mut report) {
            report.note(Err(Failure::of_case(format!("cannot go on: {error:#}"))));
            return report;
        }
    }
    report.end_steps();
    if let Err(error) = running.finish() {
        report.note(Err(Failure::of_case(format!("cannot end: {error:#}"))));
    }
    report
}

struct Running<G> {
    cluster: Cluster,
    agents: Vec<NodeAgent>,
    ground: G,
}

impl<G: Ground> Running<G> {
    fn begin(case: &Case, prepare: impl FnOnce(&Cluster) -> Result<G>) -> Result<Self> {
        let (cluster, updates) = Cluster::new(case)?;
        let ground = prepare(&cluster)?;
        let agents = cluster
            .nodes()
            .map(|(name, addresses)| NodeAgent::new(name, addresses));
        let agents = agents.collect();
        let mut running = Self {
            cluster,
            agents,
            ground,
        };
        // No program reads the tables yet: all at once.
        running.follow(&updates)?;
        Ok(running)
    }

    fn step(&mut self, index: usize, step: &Step, report: &mut CaseReport) -> Result<()> {
        for action in &step.actions {
            self.act(action)?;
        }
        // Under later steps numbers are used again, as on a node that lives long.
        if index.is_multiple_of(2) {
            for agent in &mut self.agents {
                agent.collect(&mut self.ground)?;
            }
        }
        for request in &step.admission {
            report.note(check_admission(&request.object, request.verdict));
        }
        let mut placed = Vec::new();
        for probe in probes(step) {
            match self.place(&probe) {
                Ok(Some(found)) => placed.push(found),
                Ok(None) => {}
                Err(error) => {
                    let text = format!("cannot be run: {error:#}");
                    report.note(Err(Failure::of_probe(&probe, text)));
                }
            }
        }
        let outcomes = self.ground.judge(&placed)?;
        ensure!(outcomes.len() == placed.len(), "probes were lost");
        for (placed, outcome) in placed.iter().zip(&outcomes) {
            report.note(self.compare(placed, outcome)?);
        }
        Ok(())
    }

    fn act(&mut self, action: &Action) -> Result<()> {
        for update in self.cluster.act(action)? {
            self.follow(&[update])?;
        }
        Ok(())
    }

    /// Every node's agent takes the updates in one commit.
    fn follow(&mut self, updates: &[Update]) -> Result<()> {
        for agent in &mut self.agents {
            for update in updates {
                agent.take(update, &mut self.ground)?;
            }
            agent.commit(&mut self.ground)?;
        }
        Ok(())
    }

    /// Empties the cluster: nothing may stay in any table, and what was loaded may serve again.
    fn finish(mut self) -> Result<()> {
        let updates = self.cluster.clear();
        self.follow(&updates)?;
        for agent in &mut self.agents {
            agent.retire(&mut self.ground)?;
        }
        self.ground.finish()
    }

    /// `None` where a block names no family and an end has addresses of the other one only.
    fn place(&self, probe: &Probe) -> Result<Option<Placed>> {
        if let Some(placed) = self.place_in(probe, probe.family)? {
            return Ok(Some(placed));
        }
        let mut families = Family::ALL.into_iter();
        let elsewhere = !probe.family_stated
            && families.any(|family| matches!(self.place_in(probe, family), Ok(Some(_))));
        ensure!(elsewhere, "an end has no {} address", probe.family);
        Ok(None)
    }

    fn place_in(&self, probe: &Probe, family: Family) -> Result<Option<Placed>> {
        let from = self.cluster.place(&probe.from, &probe.to, family)?;
        let to = self.cluster.place(&probe.to, &probe.from, family)?;
        let placed = from.zip(to);
        Ok(placed.map(|(from, to)| Placed {
            probe: probe.clone(),
            from,
            to,
        }))
    }

    fn compare(&self, placed: &Placed, outcome: &Outcome) -> Result<Result<(), Failure>> {
        let expected = placed.probe.expected;
        let (tables, oracle) = self.references(placed)?;
        let wrong = !outcome.meets(expected);
        let mut text = if wrong {
            format!("expected {expected}, got {outcome}")
        } else {
            String::new()
        };
        for (name, sides) in [("tables in memory", tables), ("literal reading", oracle)] {
            if wrong || !outcome.agrees(sides) {
                let separator = if text.is_empty() {
                    "as expected, but "
                } else {
                    "; "
                };
                text.push_str(&format!("{separator}{name}: {sides}"));
            }
        }
        Ok(if text.is_empty() {
            Ok(())
        } else {
            Err(Failure::of_probe(&placed.probe, text))
        })
    }

    /// What the tables in memory and the literal reading say of both sides.
    fn references(&self, placed: &Placed) -> Result<(Sides, Sides)> {
        let Placed { probe, from, to } = placed;
        let ask = |direction, place: &_, other: &_| match place {
            Host::Pod { node, name } => {
                let agent = self.agents.iter().find(|agent| agent.name() == node);
                let agent = agent.with_context(|| format!("no node {node}"))?;
                agent.reference(name, direction, other, probe.service)
            }
            Host::Node(_) | Host::Outside => Ok(Reference {
                tables: true,
                oracle: true,
            }),
        };
        let egress = ask(Direction::Egress, &from.host, to)?;
        let ingress = ask(Direction::Ingress, &to.host, from)?;
        let tables = Sides {
            egress: egress.tables,
            ingress: ingress.tables,
        };
        let oracle = Sides {
            egress: egress.oracle,
            ingress: ingress.oracle,
        };
        Ok((tables, oracle))
    }
}

fn check_admission(object: &serde_json::Value, expected: AdmissionVerdict) -> Result<(), Failure> {
    let (verdict, reason) = regime::admit(object);
    if verdict == expected {
        return Ok(());
    }
    let name = object["metadata"]["name"].as_str().unwrap_or("?");
    let kind = object["kind"].as_str().unwrap_or("?");
    let reason = reason
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default();
    let text =
        format!("admission of {kind} {name}: expected {expected:?}, got {verdict:?}{reason}");
    Err(Failure::of_case(text))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::Path};

    use policy_core::{
        model::{ObjectName, PodFact},
        plan::Op,
    };

    use super::*;
    use crate::{case, verdict::Expected};

    /// Answers what the case expects, so that only the references can be wrong.
    #[derive(Default)]
    struct Obliging(HashMap<ObjectName, u32>);

    impl Ground for Obliging {
        fn plug(&mut self, _: &str, pod: &PodFact) -> Result<u32> {
            let next = 100 + u32::try_from(self.0.len())?;
            Ok(*self.0.entry(pod.name.clone()).or_insert(next))
        }

        fn unplug(&mut self, _: &str, _: u32) -> Result<()> {
            Ok(())
        }

        fn execute(&mut self, _: &str, _: &[Op]) -> Result<()> {
            Ok(())
        }

        fn finish(self) -> Result<()> {
            Ok(())
        }

        fn judge(&mut self, probes: &[Placed]) -> Result<Vec<Outcome>> {
            let answer = |placed: &Placed| {
                let (egress, ingress) = match placed.probe.expected {
                    Expected::Denied => return Outcome::Dropped(String::new()),
                    Expected::Allowed => (true, true),
                    Expected::DeniedByEgress => (false, true),
                    Expected::DeniedByIngress => (true, false),
                    Expected::DeniedByBoth => (false, false),
                };
                Outcome::Sides {
                    sides: Sides { egress, ingress },
                    why: String::new(),
                }
            };
            Ok(probes.iter().map(answer).collect())
        }
    }

    #[test]
    fn the_references_agree_with_every_case() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let files = case::find(&[root.join("cases"), root.join("cases-extra")]).unwrap();
        assert!(!files.is_empty());
        for file in files {
            let report = run(&Case::read(&file).unwrap(), |_| Ok(Obliging::default()));
            assert!(report.passed(), "{report}");
        }
    }
}
