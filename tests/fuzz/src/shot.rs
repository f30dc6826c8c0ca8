//! One packet at one hook, and what the decision core says of it on the host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arbitrary::{Result, Unstructured};
use policy_common::{Direction, EndpointId, Reason};
use policy_ebpf::{
    Decision, Origin, Stamp, from_pod, lookup::Policy as _, memory::MemoryWorld, owed, to_pod,
};

use super::frame;

/// Which program judges the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// What the pod sends.
    FromPod,
    /// What reaches the pod.
    ToPod,
}

/// A frame and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shot {
    /// The program.
    pub hook: Hook,
    /// Where it came from, as the metadata would say.
    pub origin: Origin,
    /// The bytes.
    pub frame: Vec<u8>,
}

/// An interface at which packets are shot.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The interface.
    pub ifindex: u32,
    /// The pod's own IPv4 address.
    pub v4: Ipv4Addr,
    /// The pod's own IPv6 address.
    pub v6: Ipv6Addr,
}

/// What packets are made of. Small, so that packets meet the flows of earlier ones.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Where.
    pub places: Vec<Place>,
    /// Everybody's addresses.
    pub v4: Vec<Ipv4Addr>,
    /// Everybody's addresses.
    pub v6: Vec<Ipv6Addr>,
    /// Ports that rules tell apart.
    pub ports: Vec<u16>,
    /// Interfaces by which packets come.
    pub interfaces: Vec<u32>,
}

/// Both ends of a packet, of one family.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Sender and its port.
    pub source: (IpAddr, u16),
    /// Receiver and its port.
    pub destination: (IpAddr, u16),
}

impl Ends {
    /// The other way round.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
        }
    }
}

impl Pool {
    /// A few of the peers and ports: so few that answers meet what they answer.
    ///
    /// # Errors
    /// The bytes do not suffice.
    pub fn narrowed(&self, u: &mut Unstructured<'_>) -> Result<Self> {
        let mut narrow = self.clone();
        for _ in 0..3 {
            narrow.v4.push(*u.choose(&self.v4)?);
            narrow.v6.push(*u.choose(&self.v6)?);
        }
        for _ in 0..2 {
            narrow.ports.push(*u.choose(&self.ports)?);
        }
        narrow.v4.drain(..self.v4.len());
        narrow.v6.drain(..self.v6.len());
        narrow.ports.drain(..self.ports.len());
        Ok(narrow)
    }

    /// The next packet.
    ///
    /// # Errors
    /// The bytes do not suffice.
    pub fn shot(&self, u: &mut Unstructured<'_>) -> Result<Shot> {
        let place = *u.choose(&self.places)?;
        let hook = *u.choose(&[Hook::FromPod, Hook::ToPod])?;
        let v6 = u.arbitrary()?;
        let peer = self.address(u, v6)?;
        let mut pod = if v6 { place.v6.into() } else { place.v4.into() };
        if u.ratio(1, 12)? {
            pod = self.address(u, v6)?;
        }
        let pod = (pod, *u.choose(&self.ports)?);
        let peer = (peer, *u.choose(&self.ports)?);
        let outgoing = Ends {
            source: pod,
            destination: peer,
        };
        let ends = match hook {
            Hook::FromPod => outgoing,
            Hook::ToPod => outgoing.reversed(),
        };
        Ok(Shot {
            hook,
            origin: self.origin(u, hook, place.ifindex)?,
            frame: frame::random(u, self, ends)?,
        })
    }

    /// Anybody's address.
    pub(super) fn address(&self, u: &mut Unstructured<'_>, v6: bool) -> Result<IpAddr> {
        Ok(if v6 {
            (*u.choose(&self.v6)?).into()
        } else {
            (*u.choose(&self.v4)?).into()
        })
    }

    fn origin(&self, u: &mut Unstructured<'_>, hook: Hook, ifindex: u32) -> Result<Origin> {
        let ingress_ifindex = match hook {
            Hook::FromPod => ifindex,
            Hook::ToPod => *u.choose(&self.interfaces)?,
        };
        let socket = u.int_in_range(0..=2)?;
        Ok(Origin {
            ifindex,
            ingress_ifindex,
            has_socket: socket == 1,
            has_foreign_socket: socket == 2,
            // A test run cannot set it.
            knows_sockets: false,
            stamp: match u.int_in_range(0..=5)? {
                0 | 1 => u.arbitrary()?,
                // One of ours: numbers are small.
                2 => Stamp::judged(EndpointId(u.int_in_range(1..=12)?)).0,
                3 => Stamp::owed(EndpointId(u.int_in_range(1..=12)?)).0,
                _ => 0,
            },
            // Nor this.
            has_vlan_tag: false,
        })
    }
}

/// What the programs decide, by the same core on the host, and about which direction of whom.
pub fn decide(world: &MemoryWorld, shot: &Shot) -> (Direction, Decision) {
    let direction = match shot.hook {
        Hook::FromPod => Direction::Egress,
        Hook::ToPod => Direction::Ingress,
    };
    let (frame, mut origin) = (shot.frame.as_slice(), shot.origin);
    if shot.hook == Hook::ToPod {
        let way = owed::way(&origin, world.link(origin.ingress_ifindex));
        if way != 0 {
            let against = owed::against(world, frame, way);
            if against != 0 {
                return (Direction::Egress, Decision(against));
            }
            origin.stamp = Stamp(origin.stamp).paid().0;
        }
    }
    let Some(endpoint) = world.endpoint_at(origin.ifindex) else {
        return (direction, Decision::of(Reason::UnknownEndpoint));
    };
    let decision = match shot.hook {
        Hook::FromPod => from_pod::decide(world, frame, &origin, endpoint),
        Hook::ToPod => to_pod::decide(world, frame, &origin, endpoint),
    };
    (direction, decision)
}
