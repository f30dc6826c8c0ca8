//! Segmentation offload: whether large packets cross the node whole or in pieces.

use anyhow::Result;

use super::world::World;
use policy_harness::topology::INSIDE;

/// Switches it on both ends of both pods' interfaces. Open connections keep what they began with.
pub(super) fn set(world: &World, on: bool) -> Result<()> {
    let state = if on { "on" } else { "off" };
    let switch = |interface| ["-K", interface, "tso", state, "gso", state, "gro", state];
    for pod in [world.server()?, world.client()?] {
        pod.netns.exec("ethtool", &switch(INSIDE))?;
        world.host().exec("ethtool", &switch(&pod.interface))?;
    }
    Ok(())
}
