//! The two ends of a probe, as cases write them.
//!
//! Owns their syntax only; which address and which node an end has depends on the cluster at
//! that moment (`cluster`).

use std::{fmt, net::IpAddr, str::FromStr};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::case::Protocol;

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum End {
    /// `namespace/name`.
    Pod {
        /// The namespace.
        namespace: String,
        /// The name.
        name: String,
    },
    /// `ip:ADDRESS`: an outside host.
    Outside(IpAddr),
    /// `node:NAME`.
    Node(String),
    /// `node`: the node that hosts the pod at the other end.
    HostingNode,
}

impl FromStr for End {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "node" {
            return Ok(Self::HostingNode);
        }
        if let Some(address) = text.strip_prefix("ip:") {
            return Ok(Self::Outside(
                address.parse().with_context(|| text.to_owned())?,
            ));
        }
        if let Some(name) = text.strip_prefix("node:") {
            return Ok(Self::Node(name.to_owned()));
        }
        let (namespace, name) = text.split_once('/').with_context(|| {
            format!("{text:?} is no namespace/name, ip:ADDRESS, node:NAME or node")
        })?;
        ensure!(
            !namespace.is_empty() && !name.is_empty() && !name.contains('/'),
            "{text:?} is no namespace/name"
        );
        Ok(Self::Pod {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl TryFrom<String> for End {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl fmt::Display for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod { namespace, name } => write!(formatter, "{namespace}/{name}"),
            Self::Outside(address) => write!(formatter, "ip:{address}"),
            Self::Node(name) => write!(formatter, "node:{name}"),
            Self::HostingNode => write!(formatter, "node"),
        }
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The family of an address.
    pub(crate) const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    /// The address of this family.
    pub(crate) fn pick(self, addresses: &[IpAddr]) -> Option<IpAddr> {
        addresses
            .iter()
            .copied()
            .find(|address| Self::of(*address) == self)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        })
    }
}

/// A port of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    /// The number.
    pub(crate) port: u16,
    /// The protocol.
    pub(crate) protocol: Protocol,
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.protocol.name(), self.port)
    }
}
