//! Evidence that packets took the path that is said to be measured.
//!
//! Every enforcer counts: the agent's programs by reason, the rulesets by rule. What was sent must
//! have been counted where it was to be counted, and what no policy allows must not arrive.

use anyhow::{Context, Result, ensure};
use aya::maps::{Map, MapData, PerCpuArray};
use policy_common::{Direction, Reason, names};

use super::{
    iptables, nftables,
    udp::Link,
    world::{Setting, World},
};
use policy_harness::Cluster;

/// Packets that an enforcer counted on their way to the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    /// That opened a connection and were allowed by the open policy.
    pub(super) opened: u64,
    /// That belonged to a connection.
    pub(super) carried: u64,
    /// That no policy concerns.
    pub(super) free: u64,
}

/// What the enforcer counted so far; `None` where nothing counts. `protocol` is `tcp` or `udp`.
pub(super) fn count(world: &World, protocol: &str) -> Result<Option<Evidence>> {
    Ok(match world.setting {
        Setting::Nothing | Setting::Control | Setting::Empty(_) => None,
        Setting::Agent => Some(programs(world.cluster().context("no agent")?)?),
        Setting::Nftables => {
            let list = |chain: &str| {
                let arguments = ["list", "chain", "ip", nftables::TABLE, chain];
                world.host().exec("nft", &arguments)
            };
            let open = list(&nftables::chain(world.policies.open()))?;
            let common = list(nftables::COMMON)?;
            Some(Evidence {
                opened: nftables::counted(&open, &nftables::open_rule(protocol)),
                carried: nftables::counted(&common, "ct state established"),
                free: 0,
            })
        }
        Setting::Iptables => {
            let list = |chain: &str| world.host().exec("iptables", &["-nvxL", chain]);
            let open = list(&iptables::chain(world.policies.open()))?;
            let common = list(iptables::COMMON)?;
            let [port, mark] = iptables::open_rule(protocol);
            Some(Evidence {
                opened: iptables::counted(&open, &[&port, &mark]),
                carried: iptables::counted(&common, &["ESTABLISHED"]),
                free: 0,
            })
        }
    })
}

/// What the programs counted, from the agent's pins.
fn programs(cluster: &Cluster) -> Result<Evidence> {
    let pin = cluster.agent.pin_path().join(names::METRICS);
    let map = Map::from_map_data(MapData::from_pin(pin)?)?;
    let counters: PerCpuArray<MapData, [u64; 2]> = map.try_into()?;
    let packets = |reason: Reason| -> Result<u64> {
        let slot = Direction::Ingress as u32 * Reason::COUNT + reason as u32;
        let counter = counters.get(&slot, 0)?;
        Ok(counter.iter().map(|[packets, _]| packets).sum())
    };
    Ok(Evidence {
        opened: packets(Reason::Allowed)?,
        carried: packets(Reason::Flow)?,
        free: packets(Reason::NotIsolated)?,
    })
}

/// Whether what was sent between two counts was counted where it was to be.
pub(super) fn check(
    world: &World,
    before: Option<Evidence>,
    after: Option<Evidence>,
    sent: Evidence,
) -> Result<()> {
    let (Some(before), Some(after)) = (before, after) else {
        return Ok(());
    };
    let sent = if world.is_closed() {
        sent
    } else {
        Evidence {
            free: sent.opened + sent.carried,
            ..Evidence::default()
        }
    };
    let counted = Evidence {
        opened: after.opened - before.opened,
        carried: after.carried - before.carried,
        free: after.free - before.free,
    };
    ensure!(
        counted.opened >= sent.opened
            && counted.carried >= sent.carried
            && counted.free >= sent.free,
        "{:?}: sent {sent:?}, but counted were {counted:?}",
        world.setting
    );
    Ok(())
}

/// Whether exactly those worlds that deny something deny what no policy allows.
pub(super) fn check_denial(world: &World, link: &Link) -> Result<()> {
    let passes = link.passes_closed()?;
    ensure!(
        passes != world.is_closed(),
        "{:?}: a packet to a port that no policy opens {}",
        world.setting,
        if passes { "arrived" } else { "did not arrive" }
    );
    Ok(())
}
