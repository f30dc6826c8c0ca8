//! `commit`: brings the tables up to date with the facts; only ever adds predicates.

use policy_common::{Direction, RulesetId};
use rustc_hash::FxHashSet;

use super::endpoint::{Choice, Isolation};
use crate::{
    plan::{Delta, Op},
    resolve::{
        Resolver,
        compile::policy::Compiler,
        tables::ruleset::{Parts, reserved_rules},
    },
};

impl Resolver {
    /// Brings the tables up to date with all changes applied so far. The operations are to be
    /// executed in order; nothing that a program may still use is removed before
    /// [`Resolver::collect`].
    pub fn commit(&mut self) -> Vec<Op> {
        let mut delta = Delta::default();
        self.cluster.settle_groups();
        self.match_namespaces();
        let choices = self.choose_rulesets();
        let gains = self.activate();
        self.move_prefixes(&mut delta);
        self.refine_addresses(gains, &mut delta);
        self.move_addresses(&mut delta);
        let fresh = self.write_rules(&mut delta);
        let touched = self.endpoints_to_judge_again(&delta.addresses, &fresh);
        self.swap_endpoints(choices, &touched, &mut delta);
        delta.port_sets = self.port_sets.take_fresh();
        delta.commit_plan()
    }

    /// Which scopes a namespace is in follows its labels.
    fn match_namespaces(&mut self) {
        let mut names: Vec<_> = self.cluster.dirty.labels.drain().collect();
        names.sort_unstable();
        for name in names {
            let Some(namespace) = self.cluster.namespaces.get_mut(&name) else {
                continue;
            };
            let scopes: Vec<_> = namespace
                .labels
                .iter()
                .flat_map(|labels| self.scopes.matching(labels))
                .collect();
            if namespace.scopes != scopes {
                namespace.scopes = scopes;
                let groups: Vec<_> = namespace.groups.iter().collect();
                for group in groups {
                    self.cluster.mark_group(group);
                }
            }
            self.cluster.drop_if_empty(&name);
        }
    }

    /// The rulesets of every endpoint that may have others now.
    fn choose_rulesets(&mut self) -> Vec<Choice> {
        let dirty = &mut self.cluster.dirty;
        let namespaces = std::mem::take(&mut dirty.policies);
        let mut interfaces = std::mem::take(&mut dirty.endpoints);
        if !namespaces.is_empty() {
            interfaces.extend(
                self.cluster
                    .endpoints
                    .iter()
                    .filter_map(|(&ifindex, fact)| {
                        let pod = fact.pod.as_ref()?;
                        namespaces.contains(&pod.namespace).then_some(ifindex)
                    }),
            );
        }
        let mut compiler = Compiler::new(&mut self.predicates);
        let contents: Vec<_> = interfaces
            .into_iter()
            .map(|ifindex| {
                let pod = self.cluster.endpoints.get(&ifindex);
                let pod = pod.and_then(|fact| self.cluster.pod(fact.pod.as_ref()?));
                let mut content = |direction| {
                    let pod = pod?;
                    let namespace = self.cluster.namespaces.get(&pod.name.namespace)?;
                    let traits = &self.cluster.group_of(pod).traits;
                    compiler.content(namespace, pod, traits, direction)
                };
                let ingress = content(Direction::Ingress);
                (ifindex, ingress, content(Direction::Egress))
            })
            .collect();
        let mut choices = Vec::with_capacity(contents.len());
        for (ifindex, ingress, egress) in contents {
            let mut acquire = |content: Option<_>| {
                let (content, policies) = content?;
                let parts = Parts {
                    predicates: &mut self.predicates,
                    identities: &self.identities,
                    port_sets: &mut self.port_sets,
                };
                Some(Isolation {
                    ruleset: self.rulesets.acquire(content, ifindex, parts),
                    policies,
                })
            };
            choices.push(Choice {
                ifindex,
                ingress: acquire(ingress),
                egress: acquire(egress),
            });
        }
        choices
    }

    /// Writes the rules that new rulesets and new identities need; returns the new rulesets.
    pub(crate) fn write_rules(&mut self, delta: &mut Delta) -> FxHashSet<RulesetId> {
        let identities = self.identities.take_fresh();
        let parts = Parts {
            predicates: &mut self.predicates,
            identities: &self.identities,
            port_sets: &mut self.port_sets,
        };
        let (fresh, rules) = self.rulesets.write_rules(&identities, parts);
        for &ruleset in &fresh {
            delta.rules.extend(reserved_rules(ruleset));
        }
        delta.rules.extend(rules);
        fresh.into_iter().collect()
    }
}
