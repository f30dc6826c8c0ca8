//! How people write the ends of a connection, and a packet.

use std::{fmt, str::FromStr};

use serde::{Deserialize as _, Deserializer, de::Error as _};

use policy_core::{
    model::{ObjectName, Protocol},
    resolve::Party,
};
use thiserror::Error;

/// One end, as it is written: `namespace/pod`, `pod` (of the namespace `default`), an address, `host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartyArgument(pub Party);

/// What is no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("write namespace/pod, an IP address, or `host`")]
pub struct PartyError;

impl FromStr for PartyArgument {
    type Err = PartyError;

    fn from_str(text: &str) -> Result<Self, PartyError> {
        if text == "host" {
            return Ok(Self(Party::Host));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self(Party::Address(address)));
        }
        let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
        let is_name = |part: &str, more: &str| {
            let is_fit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(c);
            !part.is_empty() && part.chars().all(is_fit)
        };
        // A namespace's name is a label (RFC 1123), a pod's a subdomain of such.
        match is_name(namespace, "-") && is_name(name, "-.") {
            true => Ok(Self(Party::Pod(ObjectName::new(namespace, name)))),
            false => Err(PartyError),
        }
    }
}

/// As it was written.
impl fmt::Display for PartyArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Party::Pod(name) => name.fmt(f),
            Party::Address(address) => address.fmt(f),
            Party::Host => f.write_str("host"),
        }
    }
}

/// A packet that opens a connection: `80` and `80/TCP`, `53/UDP`, `9/SCTP`, `ICMP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// To this port.
    To(Protocol, u16),
    /// An echo request, of the address's family.
    Icmp,
}

/// What is no packet.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PacketError {
    /// Of another protocol.
    #[error("{0:?} is none of TCP, UDP and SCTP")]
    Protocol(String),
    /// No port number.
    #[error("{0:?} is no port from 1 to 65535; write 80, 53/UDP or ICMP")]
    Port(String),
}

impl Packet {
    /// The IANA number; 1 for ICMP of either family.
    pub const fn protocol(self) -> u8 {
        match self {
            Self::To(protocol, _) => protocol.number(),
            Self::Icmp => 1,
        }
    }

    /// The destination port, host byte order.
    pub const fn port(self) -> Option<u16> {
        match self {
            Self::To(_, port) => Some(port),
            Self::Icmp => None,
        }
    }
}

impl FromStr for Packet {
    type Err = PacketError;

    fn from_str(text: &str) -> Result<Self, PacketError> {
        if text.eq_ignore_ascii_case("icmp") {
            return Ok(Self::Icmp);
        }
        let (port, protocol) = text.split_once('/').unwrap_or((text, "TCP"));
        let all = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
        let protocol = all
            .into_iter()
            .find(|one| one.to_string().eq_ignore_ascii_case(protocol))
            .ok_or_else(|| PacketError::Protocol(protocol.into()))?;
        match port.parse() {
            Ok(number @ 1..) => Ok(Self::To(protocol, number)),
            _ => Err(PacketError::Port(port.into())),
        }
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(protocol, port) => write!(f, "{port}/{protocol}"),
            Self::Icmp => f.write_str("ICMP"),
        }
    }
}

/// Reads back what was displayed.
pub(super) fn parsed<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(D::Error::custom)
}

/// The same, where it may be absent.
pub(super) fn optionally_parsed<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    let parse = |text: String| text.parse().map_err(D::Error::custom);
    text.map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["shop/web-0", "10.0.0.1", "fd00::1", "host"] {
            assert_eq!(text.parse::<PartyArgument>().unwrap().to_string(), text);
        }
        let web: PartyArgument = "web".parse().unwrap();
        assert_eq!(web.to_string(), "default/web");
        for text in ["", "/", "shop/", "a/b/c", "Shop/web", "a b", "10.0.0.1/8"] {
            assert!(text.parse::<PartyArgument>().is_err(), "{text}");
        }
        for (text, shown) in [("80", "80/TCP"), ("53/udp", "53/UDP"), ("icmp", "ICMP")] {
            assert_eq!(text.parse::<Packet>().unwrap().to_string(), shown);
        }
        for text in [
            "", "0", "65536", "80/", "80/ICMP", "TCP", "http", "-1", "80/TCP/4",
        ] {
            assert!(text.parse::<Packet>().is_err(), "{text}");
        }
    }
}
