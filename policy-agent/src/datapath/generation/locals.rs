//! LOCALS: what this node delivers locally; SERVICES: the addresses of Services.
//!
//! Invariant: a prefix that cannot be written is not taken for one that leaves the node: then
//! everything counts as local.

use std::collections::BTreeSet;

use aya::{Ebpf, maps::MapError};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use policy_common::{V4, V6, limits, names};

use super::super::kernel::{
    abi::{Abi, Trie, prefix},
    element::gone,
    part::{PartError, open},
};

/// The maps, and what stands in them.
pub(super) struct Prefixes {
    v4: Trie<V4, u32>,
    v6: Trie<V6, u32>,
    written: BTreeSet<IpNet>,
}

/// Prefixes of one family; one place is kept for everything.
const MOST: usize = limits::MAX_LOCALS as usize - 1;
const _: () = assert!(limits::MAX_LOCALS == limits::MAX_SERVICES);

/// The value of every prefix.
const IS_LOCAL: u32 = 1;

impl Prefixes {
    pub(super) fn locals(ebpf: &Ebpf) -> Result<Self, PartError> {
        Self::of(ebpf, [names::LOCALS_V4, names::LOCALS_V6])
    }

    pub(super) fn services(ebpf: &Ebpf) -> Result<Self, PartError> {
        Self::of(ebpf, [names::SERVICES_V4, names::SERVICES_V6])
    }

    fn of(ebpf: &Ebpf, [v4, v6]: [&'static str; 2]) -> Result<Self, PartError> {
        Ok(Self {
            v4: open(ebpf, v4)?,
            v6: open(ebpf, v6)?,
            written: BTreeSet::new(),
        })
    }

    /// Makes them say as many of these as there is room for, and nothing that they do not say: whether there
    /// was room.
    pub(super) fn put_some(&mut self, wanted: &[IpNet]) -> Result<bool, MapError> {
        let wanted: BTreeSet<IpNet> = wanted.iter().copied().collect();
        let gone: Vec<IpNet> = self.written.difference(&wanted).copied().collect();
        for net in gone {
            self.remove(net)?;
        }
        let mut room = [false, true].map(|is_v4| {
            let written = self.written.iter();
            let written = written.filter(|net| net.addr().is_ipv4() == is_v4);
            MOST.saturating_sub(written.count())
        });
        let mut has_room = true;
        for net in wanted {
            if self.written.contains(&net) {
                continue;
            }
            let room = &mut room[usize::from(net.addr().is_ipv4())];
            match room.checked_sub(1) {
                Some(rest) => {
                    *room = rest;
                    self.insert(net)?;
                }
                None => has_room = false,
            }
        }
        Ok(has_room)
    }

    /// Makes them say this.
    pub(super) fn put(&mut self, routes: &[IpNet]) -> Result<(), MapError> {
        for everything in [Ipv4Net::default().into(), Ipv6Net::default().into()] {
            self.put_family(routes, everything)?;
        }
        Ok(())
    }

    /// The same for the family of which this is everything.
    fn put_family(&mut self, routes: &[IpNet], everything: IpNet) -> Result<(), MapError> {
        let of_family = |net: &&IpNet| net.addr().is_ipv4() == everything.addr().is_ipv4();
        let mut wanted: BTreeSet<IpNet> = routes.iter().filter(of_family).copied().collect();
        if wanted.len() > MOST {
            tracing::warn!(
                "more than {MOST} local routes: tunnel packets of pods are dropped wherever they go"
            );
            wanted = BTreeSet::from([everything]);
        }
        let written: BTreeSet<IpNet> = self.written.iter().filter(of_family).copied().collect();
        if written.union(&wanted).count() > MOST {
            self.insert(everything)?;
        } else {
            for net in wanted.difference(&written) {
                self.insert(*net)?;
            }
        }
        for net in written.difference(&wanted) {
            self.remove(*net)?;
        }
        for net in &wanted {
            if !self.written.contains(net) {
                self.insert(*net)?;
            }
        }
        if self.written.contains(&everything) && !wanted.contains(&everything) {
            self.remove(everything)?;
        }
        Ok(())
    }

    fn insert(&mut self, net: IpNet) -> Result<(), MapError> {
        let (bits, value) = (net.prefix_len().into(), Abi(IS_LOCAL));
        match net {
            IpNet::V4(net) => self
                .v4
                .insert(&prefix(bits, V4(net.addr().octets())), value, 0),
            IpNet::V6(net) => self
                .v6
                .insert(&prefix(bits, V6(net.addr().octets())), value, 0),
        }?;
        self.written.insert(net);
        Ok(())
    }

    fn remove(&mut self, net: IpNet) -> Result<(), MapError> {
        let bits = net.prefix_len().into();
        match net {
            IpNet::V4(net) => gone(self.v4.remove(&prefix(bits, V4(net.addr().octets())))),
            IpNet::V6(net) => gone(self.v6.remove(&prefix(bits, V6(net.addr().octets())))),
        }?;
        self.written.remove(&net);
        Ok(())
    }
}
