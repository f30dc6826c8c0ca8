//! The cluster: a node whose pods are those of the manifests, a machine outside, and a server at
//! every address and port that anybody tries.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use policy_harness::{
    Netns, Node, Wiring,
    topology::{OUTSIDE_V4, OUTSIDE_V6},
    traffic::{Protocol, Server},
};

use crate::manifests::{self, Metadata};

/// The port that the policy allows.
pub(crate) const OPEN_PORT: u16 = 80;
/// A port that no rule names.
pub(crate) const OTHER_PORT: u16 = 8080;
/// Every port that is tried.
pub(crate) const PORTS: [u16; 2] = [OPEN_PORT, OTHER_PORT];

/// The address of the policy's block, and its IPv6 companion that no block covers.
const OFFICE: [&str; 2] = ["192.168.5.10", "2001:db8:5::10"];
/// The machine outside by the addresses that no policy names.
const ELSEWHERE: [&str; 2] = [OUTSIDE_V4, OUTSIDE_V6];

/// The namespaces; dropping it removes them.
#[derive(Debug)]
pub(crate) struct Cluster {
    node: Node,
}

/// Somebody who connects or is connected to.
#[derive(Clone, Debug)]
pub(crate) struct Party<'a> {
    /// What the table calls it.
    pub(crate) name: String,
    pub(crate) netns: &'a Netns,
    /// Its addresses, IPv4 first; none: the node's own, which its routes choose.
    pub(crate) addresses: Option<[IpAddr; 2]>,
}

impl Cluster {
    pub(crate) fn new() -> Result<Self> {
        let mut node = Node::new(&format!("demo{}", std::process::id()), Wiring::Routed)?;
        for pod in manifests::pods()? {
            let Metadata { namespace, name } = pod.metadata;
            let addresses: Vec<IpAddr> = pod.status.pod_ips.iter().map(|one| one.ip).collect();
            node.add_pod(&format!("{namespace}/{name}"), &addresses)?;
        }
        for address in OFFICE {
            node.add_outside_address(address.parse()?)?;
        }
        Ok(Self { node })
    }

    /// Where the agent runs.
    pub(crate) fn host(&self) -> &Netns {
        &self.node.host
    }

    /// Listens at every address and port that is tried.
    pub(crate) fn serve(&self) -> Result<Vec<Server>> {
        let mut servers = Vec::new();
        for target in self.targets()? {
            for address in target.addresses.iter().flatten() {
                for port in PORTS {
                    let address = SocketAddr::new(*address, port);
                    servers.push(Server::start(target.netns, Protocol::Tcp, address)?);
                }
            }
        }
        Ok(servers)
    }

    /// Everybody who is connected to: the columns of the table.
    pub(crate) fn targets(&self) -> Result<Vec<Party<'_>>> {
        let mut parties = self.pods()?;
        parties.push(self.outside(OFFICE)?);
        Ok(parties)
    }

    /// Everybody who connects: the rows.
    pub(crate) fn sources(&self) -> Result<Vec<Party<'_>>> {
        let mut parties = self.targets()?;
        parties.push(self.outside(ELSEWHERE)?);
        parties.push(Party {
            name: "the node".to_owned(),
            netns: &self.node.host,
            addresses: None,
        });
        Ok(parties)
    }

    fn pods(&self) -> Result<Vec<Party<'_>>> {
        let parties = self.node.pods().iter().map(|pod| {
            Ok(Party {
                name: pod.name.clone(),
                netns: &pod.netns,
                addresses: Some([pod.v4()?, pod.v6()?]),
            })
        });
        parties.collect()
    }

    fn outside(&self, [v4, v6]: [&str; 2]) -> Result<Party<'_>> {
        Ok(Party {
            name: v4.to_owned(),
            netns: &self.node.outside,
            addresses: Some([v4.parse()?, v6.parse()?]),
        })
    }

    /// A party by its name.
    pub(crate) fn party(&self, name: &str) -> Result<Party<'_>> {
        let mut sources = self.sources()?.into_iter();
        sources
            .find(|party| party.name == name)
            .with_context(|| format!("nobody is called {name}"))
    }
}

impl Party<'_> {
    /// Its address of a family; `None`: the node's, as its routes choose.
    pub(crate) fn address(&self, v6: bool) -> Option<IpAddr> {
        self.addresses
            .map(|[four, six]| if v6 { six } else { four })
    }
}
