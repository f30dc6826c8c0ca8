//! What a run finds pinned, before anything of it is believed: whether it is of this network namespace.

use std::collections::BTreeMap;

use policy_common::Endpoint;

use super::super::AgentError;
use crate::{
    datapath::{About, Memory as Record, MemoryMap, Pins},
    netns::{Mark, boot_id},
};

/// What was found of an earlier run's, before anything of it is believed.
#[derive(Debug)]
pub(in crate::agent) struct Found {
    pub(super) map: MemoryMap,
    pub(super) read: Result<BTreeMap<About, Record>, String>,
    pub(super) node: Record,
    pub(super) refused: Option<String>,
}

impl Found {
    /// Reads it, and the endpoints of the generation in force. The pins of another network namespace than this thread's say nothing of interfaces here:
    /// they are let go of.
    pub(in crate::agent) fn open(pins: &Pins) -> Result<(Self, Vec<Endpoint>), AgentError> {
        let node = Record {
            mark: Mark::own().map_err(AgentError::Namespace)?,
            boot: boot_id().map_err(AgentError::Namespace)?,
            ..Record::default()
        };
        let (mut map, mut read) = MemoryMap::open(pins)?;
        let before = read.as_ref().ok().and_then(|all| all.get(&About::Node));
        let is_another =
            |before: &&Record| before.boot != node.boot || before.mark.is_another(&node.mark, &[]);
        let mut refused = None;
        if let Some(before) = before.filter(is_another) {
            let left = pins.leave(number(&before.mark))?;
            refused = Some(strange(&before.mark, &node.mark, left));
            (map, read) = MemoryMap::open(pins)?;
        }
        pins.come_back(number(&node.mark))?;
        if let Some(refused) = &refused {
            tracing::error!("{refused}");
        }
        // Before anything else is pinned, so that no later run takes it for another namespace's.
        if let Ok(read) = &mut read
            && !read.contains_key(&About::Node)
        {
            map.put(About::Node, &node)?;
            map.publish()?;
            read.insert(About::Node, node.clone());
        }
        let found = Self {
            map,
            read,
            node,
            refused,
        };
        Ok((found, pins.endpoints()?))
    }
}

/// A number for a namespace that others of this start of the machine do not have, as far as that is known.
fn number(mark: &Mark) -> u64 {
    match mark.cookie {
        0 => mark.inode,
        cookie => cookie,
    }
}

fn strange(before: &Mark, now: &Mark, left: usize) -> String {
    let links = match left {
        0 => "nothing of it is there any more".into(),
        left => format!("{left} links are still on its interfaces and stay until `cleanup`"),
    };
    format!(
        "what an earlier run decided was for interfaces of another network namespace (netns {}, this one is {}): \
         nothing of it is believed, whose each interface is is decided anew; {links}",
        number(before),
        number(now)
    )
}
