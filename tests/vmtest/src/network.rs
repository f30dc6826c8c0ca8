//! A host and two pods behind routed veth pairs, made by netlink and whatever `ip` there is.

use std::{
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use policy_harness::Netns;
use rtnetlink::LinkVeth;

/// The host's addresses.
pub(crate) const HOST: [&str; 2] = ["192.0.2.1", "2001:db8:ff::1"];
/// An address of nobody, routed to the first pod.
pub(crate) const STRANGER: &str = "10.0.0.77";
/// An address that the host passes on to the second pod, which does not have it.
pub(crate) const PASSED_ON: &str = "10.0.0.88";
/// The pods' gateway.
const GATEWAY: [&str; 2] = ["169.254.1.1", "fe80::1"];

/// The host and its pods. Everything ends with it.
pub(crate) struct Network {
    /// Plays the host.
    pub(crate) host: Netns,
    /// The pods.
    pub(crate) pods: [Pod; 2],
}

/// A pod.
pub(crate) struct Pod {
    pub(crate) netns: Netns,
    pub(crate) addresses: [IpAddr; 2],
    /// Index of its interface on the host.
    pub(crate) ifindex: u32,
}

impl Network {
    /// Makes it.
    pub(crate) fn new() -> Result<Self> {
        let host = Netns::unnamed()?;
        host.sysctl("net/ipv4/ip_forward", "1")?;
        host.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        ip(&host, &format!("addr add {}/32 dev lo", HOST[0]))?;
        ip(&host, &format!("addr add {}/128 dev lo", HOST[1]))?;
        let pods = [pod(&host, 1)?, pod(&host, 2)?];
        ip(&host, &format!("route add {STRANGER}/32 dev pod1"))?;
        ip(
            &host,
            &format!("route add {PASSED_ON}/32 via 10.0.0.2 dev pod2"),
        )?;
        ip(&pods[0].netns, &format!("addr add {STRANGER}/32 dev eth0"))?;
        Ok(Self { host, pods })
    }
}

fn pod(host: &Netns, number: u8) -> Result<Pod> {
    let netns = Netns::unnamed()?;
    let name = format!("pod{number}");
    connect(host, &netns, &name)?;
    let addresses = [format!("10.0.0.{number}"), format!("fd00::{number}")];
    let to_v6 = format!("route add {}/128 dev {name} src {}", addresses[1], HOST[1]);
    for command in [
        format!("link set {name} up"),
        format!("addr add {}/32 dev {name}", GATEWAY[0]),
        format!("addr add {}/64 dev {name}", GATEWAY[1]),
        format!("route add {}/32 dev {name} src {}", addresses[0], HOST[0]),
    ] {
        ip(host, &command)?;
    }
    // An address is nobody's source before the kernel has looked at it, which it does when it finds
    // the time; not every `ip` can tell it not to.
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Err(error) = ip(host, &to_v6) {
        if Instant::now() > deadline {
            return Err(error);
        }
        thread::sleep(Duration::from_millis(50));
    }
    for command in [
        "link set eth0 up".to_owned(),
        format!("addr add {}/32 dev eth0", addresses[0]),
        format!("addr add {}/128 dev eth0", addresses[1]),
        format!("route add {}/32 dev eth0", GATEWAY[0]),
        format!("route add default via {} dev eth0", GATEWAY[0]),
        format!("-6 route add default via {} dev eth0", GATEWAY[1]),
    ] {
        ip(&netns, &command)?;
    }
    let [v4, v6] = addresses;
    Ok(Pod {
        addresses: [v4.parse()?, v6.parse()?],
        ifindex: host.ifindex(&name)?,
        netns,
    })
}

fn ip(netns: &Netns, command: &str) -> Result<()> {
    let words: Vec<&str> = command.split(' ').collect();
    netns.exec("ip", &words).map(drop)
}

/// A veth pair: `name` on the host, `eth0` in the pod. Not every `ip` can make one.
fn connect(host: &Netns, pod: &Netns, name: &str) -> Result<()> {
    host.run(|| -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection()?;
            tokio::spawn(connection);
            let veth = LinkVeth::new(name, "eth0").build();
            handle.link().add(veth).execute().await?;
            let inside = rtnetlink::LinkUnspec::new_with_name("eth0")
                .setns_by_fd(pod.handle().fd())
                .build();
            handle.link().set(inside).execute().await?;
            Ok(())
        })
    })?
    .with_context(|| format!("connecting {name}"))
}
