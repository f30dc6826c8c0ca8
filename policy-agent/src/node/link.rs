//! Links and addresses as rtnetlink tells them.

use std::{fmt, io, net::IpAddr};

use super::{
    message::{Message, attributes, port, push, text, u16_at, u32_at},
    socket::Requests,
};

/// Lengths of `struct ifinfomsg` and `struct ifaddrmsg`.
const IFINFOMSG: usize = 16;
const IFADDRMSG: usize = 8;

/// `RTEXT_FILTER_SKIP_STATS`: counters are most of a link message and nobody here reads them.
const SKIP_STATS: u32 = 1 << 3;

/// `IFLA_INFO_KIND`, `_DATA` and `_SLAVE_KIND`, `IFLA_VXLAN_PORT`, `IFLA_GENEVE_PORT`,
/// `IFLA_BAREUDP_PORT` (linux/if_link.h).
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_SLAVE_KIND: u16 = 4;
const VXLAN_PORT: u16 = 15;
const GENEVE_PORT: u16 = 5;
const BAREUDP_PORT: u16 = 1;

/// `IFLA_NEW_NETNSID` and `IFLA_TARGET_NETNSID` (linux/if_link.h).
const IFLA_NEW_NETNSID: u16 = 45;
const IFLA_TARGET_NETNSID: u16 = 46;

/// `IFA_TARGET_NETNSID` (linux/if_addr.h).
const TARGET_NETNSID: u16 = 10;

/// The kind of an interface: `IFLA_INFO_KIND` of rtnetlink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterfaceKind {
    /// No kind: hardware, or one that a driver made.
    Physical,
    /// The loopback interface.
    Loopback,
    /// One end of a pair.
    Veth,
    /// A bridge.
    Bridge,
    /// A VXLAN tunnel.
    Vxlan,
    /// A Geneve tunnel.
    Geneve,
    /// An intermediate functional block: packets are sent round by it, to be shaped.
    Ifb,
    /// One end of a pair whose packets pass no hook of TC at the host's end.
    Netkit,
    /// Any other, by the kernel's word.
    Other(Box<str>),
}

impl InterfaceKind {
    fn new(kind: &str) -> Self {
        match kind {
            "veth" => Self::Veth,
            "bridge" => Self::Bridge,
            "vxlan" => Self::Vxlan,
            "geneve" => Self::Geneve,
            "ifb" => Self::Ifb,
            "netkit" => Self::Netkit,
            other => Self::Other(other.into()),
        }
    }
}

impl InterfaceKind {
    /// Whether TC programs see all traffic of interfaces of the kind that lead into other namespaces.
    #[must_use]
    pub fn is_enforceable(&self) -> bool {
        *self == Self::Veth
    }

    /// Whether devices of the kind come in pairs: the other end stands on nothing.
    pub(super) fn is_paired(&self) -> bool {
        matches!(self, Self::Veth | Self::Netkit)
            || matches!(self, Self::Other(kind) if &**kind == "vxcan")
    }
}

impl fmt::Display for InterfaceKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Physical => "physical",
            Self::Loopback => "loopback",
            Self::Veth => "veth",
            Self::Bridge => "bridge",
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::Ifb => "ifb",
            Self::Netkit => "netkit",
            Self::Other(kind) => kind,
        })
    }
}

/// What RTM_NEWLINK says of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) ifindex: u32,
    pub(super) name: String,
    pub(super) kind: InterfaceKind,
    pub(super) hardware: u16,
    pub(super) up: bool,
    pub(super) mac: Vec<u8>,
    /// The master, if it is a bridge.
    pub(super) bridge: Option<u32>,
    /// The other end, or the interface below: its index, and its namespace if not ours.
    pub(super) link: Option<u32>,
    pub(super) link_namespace: Option<i32>,
    /// The UDP port on which a tunnel listens.
    pub(super) tunnel_port: Option<u16>,
}

impl Link {
    /// `None` also for an interface that is ending.
    pub(super) fn decode(message: &Message<'_>) -> Option<Self> {
        if message.kind != libc::RTM_NEWLINK {
            return None;
        }
        let hardware = u16_at(message.payload, 2)?;
        let mut link = Self {
            ifindex: u32_at(message.payload, 4)?,
            name: String::new(),
            kind: InterfaceKind::Physical,
            hardware,
            up: u32_at(message.payload, 8)? & libc::IFF_UP.cast_unsigned() != 0,
            mac: Vec::new(),
            bridge: None,
            link: None,
            link_namespace: None,
            tunnel_port: None,
        };
        let mut master = None;
        let mut port_of_bridge = false;
        for (kind, value) in attributes(message.payload, IFINFOMSG) {
            match kind {
                libc::IFLA_IFNAME => link.name = text(value),
                libc::IFLA_ADDRESS => link.mac = value.to_vec(),
                libc::IFLA_MASTER => master = u32_at(value, 0),
                libc::IFLA_LINK => link.link = u32_at(value, 0),
                libc::IFLA_LINK_NETNSID => {
                    link.link_namespace = u32_at(value, 0).map(u32::cast_signed);
                }
                libc::IFLA_LINKINFO => port_of_bridge = link.info(value),
                _ => {}
            }
        }
        if hardware == libc::ARPHRD_LOOPBACK {
            link.kind = InterfaceKind::Loopback;
        }
        link.bridge = master.filter(|_| port_of_bridge);
        // The namespace of the other end is ending, and the interface with it: it leads nowhere,
        // which is not the same as into our own namespace.
        let ending = link.link_namespace.is_some_and(|number| number < 0);
        (!ending).then_some(link)
    }

    /// Reads IFLA_LINKINFO; whether the interface is a bridge's port.
    fn info(&mut self, info: &[u8]) -> bool {
        let mut port_of_bridge = false;
        let mut data = None;
        for (kind, value) in attributes(info, 0) {
            match kind {
                INFO_KIND => self.kind = InterfaceKind::new(&text(value)),
                INFO_DATA => data = Some(value),
                INFO_SLAVE_KIND => port_of_bridge = text(value) == "bridge",
                _ => {}
            }
        }
        let wanted = match &self.kind {
            InterfaceKind::Vxlan => VXLAN_PORT,
            InterfaceKind::Geneve => GENEVE_PORT,
            InterfaceKind::Other(kind) if &**kind == "bareudp" => BAREUDP_PORT,
            _ => return port_of_bridge,
        };
        self.tunnel_port = attributes(data.unwrap_or_default(), 0)
            .find_map(|(kind, value)| port(value).filter(|_| kind == wanted));
        port_of_bridge
    }
}

fn link_request(ifindex: u32) -> Vec<u8> {
    let mut body = vec![0; IFINFOMSG];
    body.splice(4..8, ifindex.to_ne_bytes());
    push(&mut body, libc::IFLA_EXT_MASK, &SKIP_STATS.to_ne_bytes());
    body
}

/// All links of the requests' namespace.
pub(super) fn links(requests: &mut Requests) -> io::Result<Vec<Link>> {
    requests.dump(libc::RTM_GETLINK.into(), &link_request(0), Link::decode)
}

/// One link, `None` when there is none of this index.
pub(super) fn link(requests: &mut Requests, ifindex: u32) -> io::Result<Option<Link>> {
    let body = link_request(ifindex);
    match requests.get(libc::RTM_GETLINK.into(), &body, Link::decode) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        result => result,
    }
}

/// The Ethernet address of a link of another namespace, without entering it; `None` also when it has
/// none, or has gone.
pub(super) fn mac_inside(
    requests: &mut Requests,
    namespace: i32,
    ifindex: u32,
) -> io::Result<Option<[u8; 6]>> {
    let link = link_inside(requests, namespace, ifindex)?;
    Ok(link.and_then(|link| link.mac.try_into().ok()))
}

/// All links of another namespace, without entering it; none when that has gone.
pub(super) fn links_inside(requests: &mut Requests, namespace: i32) -> io::Result<Vec<Link>> {
    let mut body = link_request(0);
    push(&mut body, IFLA_TARGET_NETNSID, &namespace.to_ne_bytes());
    match requests.dump(libc::RTM_GETLINK.into(), &body, Link::decode) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EINVAL)) => {
            Ok(Vec::new())
        }
        result => result,
    }
}

/// One link of another namespace; `None` also when that has gone.
pub(super) fn link_inside(
    requests: &mut Requests,
    namespace: i32,
    ifindex: u32,
) -> io::Result<Option<Link>> {
    let mut body = link_request(ifindex);
    push(&mut body, IFLA_TARGET_NETNSID, &namespace.to_ne_bytes());
    match requests.get(libc::RTM_GETLINK.into(), &body, Link::decode) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EINVAL)) => Ok(None),
        result => result,
    }
}

/// Whether an RTM_DELLINK says that the link goes on in another namespace.
pub(super) fn is_move(message: &Message<'_>) -> bool {
    message.kind == libc::RTM_DELLINK
        && attributes(message.payload, IFINFOMSG).any(|(kind, _)| kind == IFLA_NEW_NETNSID)
}

/// Whether a message of another namespace is about a device that stands on one elsewhere.
pub(super) fn leads_out(message: &Message<'_>) -> bool {
    let link = Link::decode(message);
    link.is_some_and(|link| link.link_namespace.is_some() && !link.kind.is_paired())
}

/// One address and the interface that has it.
pub(super) fn decode_address(message: &Message<'_>) -> Option<(u32, IpAddr)> {
    if message.kind != libc::RTM_NEWADDR {
        return None;
    }
    let ifindex = u32_at(message.payload, 4)?;
    let mut address = None;
    for (kind, value) in attributes(message.payload, IFADDRMSG) {
        // With a peer IFA_ADDRESS is the peer's, and IFA_LOCAL ours; without, v6 has no IFA_LOCAL.
        let local = kind == libc::IFA_LOCAL;
        if local || (kind == libc::IFA_ADDRESS && address.is_none()) {
            address = match value.len() {
                4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
                16 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
                _ => address,
            };
        }
    }
    Some((ifindex, address?))
}

/// The interface that an RTM_NEWADDR or RTM_DELADDR is about.
pub(super) fn address_interface(message: &Message<'_>) -> Option<u32> {
    u32_at(message.payload, 4)
}

/// The addresses of one interface (0: of all) of a namespace (`None`: our own), without entering it.
pub(super) fn addresses(
    requests: &mut Requests,
    namespace: Option<i32>,
    ifindex: u32,
) -> io::Result<Vec<(u32, IpAddr)>> {
    let mut body = vec![0; IFADDRMSG];
    body.splice(4..8, ifindex.to_ne_bytes());
    if let Some(namespace) = namespace {
        push(&mut body, TARGET_NETNSID, &namespace.to_ne_bytes());
    }
    match requests.dump(libc::RTM_GETADDR.into(), &body, decode_address) {
        // The interface or the namespace has gone meanwhile.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EINVAL)) => {
            Ok(Vec::new())
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announce(attributes: &[(u16, &[u8])], decoded: impl FnOnce(Option<Link>)) {
        let mut payload = link_request(7).get(..IFINFOMSG).unwrap().to_vec();
        for (kind, value) in attributes {
            push(&mut payload, *kind, value);
        }
        decoded(Link::decode(&Message {
            kind: libc::RTM_NEWLINK,
            flags: 0,
            sequence: 0,
            payload: &payload,
        }));
    }

    fn info(kind: &str, data: &[u8], master: &str) -> Vec<u8> {
        let mut info = Vec::new();
        push(&mut info, INFO_KIND, kind.as_bytes());
        push(&mut info, INFO_DATA, data);
        push(&mut info, INFO_SLAVE_KIND, master.as_bytes());
        info
    }

    #[test]
    fn only_a_bridge_counts_as_master() {
        for (kind, bridge) in [("bridge\0", Some(3)), ("vrf\0", None), ("bond\0", None)] {
            let info = info("veth\0", &[], kind);
            let master = 3_u32.to_ne_bytes();
            let attributes = [
                (libc::IFLA_MASTER, &master[..]),
                (libc::IFLA_LINKINFO, &info),
            ];
            announce(&attributes, |link| {
                assert_eq!(link.unwrap().bridge, bridge, "{kind}")
            });
        }
    }

    #[test]
    fn every_kind_of_udp_tunnel_gives_its_port() {
        for (kind, attribute, port) in [
            ("vxlan", VXLAN_PORT, Some(4789)),
            ("geneve", GENEVE_PORT, Some(4789)),
            ("bareudp", BAREUDP_PORT, Some(4789)),
            ("wireguard", 5, None),
        ] {
            let mut data = Vec::new();
            push(&mut data, attribute, &4789_u16.to_be_bytes());
            let info = info(kind, &data, "");
            announce(&[(libc::IFLA_LINKINFO, &info)], |link| {
                assert_eq!(link.unwrap().tunnel_port, port, "{kind}");
            });
        }
    }

    #[test]
    fn an_interface_into_a_namespace_that_ends_is_no_interface_of_the_host() {
        let ending = (-1_i32).to_ne_bytes();
        announce(&[(libc::IFLA_LINK_NETNSID, &ending)], |link| {
            assert!(link.is_none())
        });
        announce(&[], |link| assert!(link.is_some()));
    }
}
