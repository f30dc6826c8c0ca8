//! Nothing goes before everybody has ended who may be on the way to it.

use std::{convert::Infallible, net::IpAddr};

use ipnet::IpNet;
use policy_common::{AddressEntry, Endpoint, EndpointId, IdentityId, PortSetId, RuleKey};
use policy_core::{
    laws::strategies::{change, facts},
    plan::{Op, Writer, encode::EncodedPortSet, write},
    resolve::Resolver,
};
use proptest::{collection::vec, prelude::*};

/// Notes what programs may have met, and what is removed under their eyes.
#[derive(Default)]
struct Watch {
    /// Something visible was written since the last wait.
    is_met: bool,
    waits: usize,
    too_early: Vec<String>,
    removed: usize,
}

impl Watch {
    fn remove(&mut self, what: impl std::fmt::Debug) {
        self.removed += 1;
        if self.is_met {
            self.too_early.push(format!("{what:?}"));
        }
    }
}

impl Writer for Watch {
    type Error = Infallible;

    fn put_port_set(&mut self, _: PortSetId, _: &EncodedPortSet) -> Result<(), Infallible> {
        Ok(())
    }

    fn delete_port_set(&mut self, id: PortSetId, _: &EncodedPortSet) -> Result<(), Infallible> {
        self.remove(id);
        Ok(())
    }

    fn put_rule(&mut self, _: RuleKey, _: PortSetId) -> Result<(), Infallible> {
        Ok(())
    }

    fn delete_rule(&mut self, key: RuleKey) -> Result<(), Infallible> {
        self.remove(key);
        Ok(())
    }

    fn put_address(&mut self, _: IpAddr, _: AddressEntry) -> Result<(), Infallible> {
        self.is_met = true;
        Ok(())
    }

    fn delete_address(&mut self, _: IpAddr) -> Result<(), Infallible> {
        self.is_met = true;
        Ok(())
    }

    fn put_cidr(&mut self, _: IpNet, _: IdentityId) -> Result<(), Infallible> {
        self.is_met = true;
        Ok(())
    }

    fn delete_cidr(&mut self, _: IpNet) -> Result<(), Infallible> {
        self.is_met = true;
        Ok(())
    }

    fn endpoint_at(&self, _: u32) -> Result<Option<Endpoint>, Infallible> {
        Ok(None)
    }

    fn put_endpoint(&mut self, _: Endpoint) -> Result<(), Infallible> {
        self.is_met = true;
        Ok(())
    }

    fn delete_endpoint(&mut self, _: u32, _: EndpointId) -> Result<(), Infallible> {
        self.is_met = true;
        Ok(())
    }

    fn next_epoch(&mut self) -> Result<u32, Infallible> {
        Ok(1)
    }

    fn wait(&mut self) -> Result<(), Infallible> {
        self.waits += 1;
        self.is_met = false;
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_removal_comes_before_its_wait_also_when_it_is_retried_alone(
        facts in facts(),
        changes in vec(change(), 1..12),
    ) {
        let (mut resolver, mut watch) = (Resolver::new(), Watch::default());
        facts.changes().for_each(|change| resolver.apply(change));
        let mut put_off = Vec::new();
        for change in changes {
            resolver.apply(change);
            let ops: Vec<Op> = resolver.commit().into_iter().chain(resolver.collect()).collect();
            for (place, op) in ops.into_iter().enumerate() {
                // Every third operation fails at first, and is tried again with all marks gone.
                if place % 3 == 0 {
                    put_off.push(op);
                    continue;
                }
                let Ok(()) = write(&mut watch, &op);
            }
            for op in put_off.drain(..).filter(|op| *op != Op::Grace) {
                let Ok(()) = write(&mut watch, &op);
            }
        }
        prop_assert_eq!(&watch.too_early, &[] as &[String]);
        prop_assert!(watch.removed == 0 || watch.waits > 0);
    }

    #[test]
    fn a_collection_moves_nothing_before_the_last_swap_was_waited_for(
        facts in facts(),
        changes in vec(change(), 1..12),
    ) {
        let mut resolver = Resolver::new();
        facts.changes().for_each(|change| resolver.apply(change));
        resolver.commit();
        for change in changes {
            resolver.apply(change);
            resolver.commit();
            let ops = resolver.collect();
            let first = ops.iter().position(|op| op.is_visible() || op.waits());
            prop_assert!(first.is_none_or(|first| ops[first].waits()), "{ops:?}");
        }
    }
}
