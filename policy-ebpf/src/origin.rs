//! Where a packet came from, by signals that no pod can forge.

use policy_common::{Endpoint, EndpointId, limits::MAX_ENDPOINTS};

use crate::{lookup::Policy, owed::way};

/// What the packet's metadata says. `from_pod` overwrites the stamp of every packet, so a stamp of
/// a pod's own making never gets beyond its interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The interface whose hook runs.
    pub ifindex: u32,
    /// The interface by which the packet entered this host, 0 when it began here or lost it.
    pub ingress_ifindex: u32,
    /// A socket of this host is attached to the packet, or where nobody can tell, any socket.
    pub has_socket: bool,
    /// A socket of another network namespace is: a container's that shares an interface of this host.
    pub has_foreign_socket: bool,
    /// The kernel says whose a socket is: one of this host is no other's.
    pub knows_sockets: bool,
    /// [`Stamp`], or the class that a filter gave the packet.
    pub stamp: u16,
    /// An 802.1Q tag stands in the packet's metadata.
    pub has_vlan_tag: bool,
}

impl Origin {
    /// This host made the packet, unless it is an IPv6 fragment. All three signals are needed: packets that
    /// the host fragments again lose their interface, bridged ones keep the pod's socket.
    ///
    /// What was sent round by an IFB has lost its socket, and has that one's interface; then
    /// [`Stamp::HOST`] says it. Only what left by an interface comes back so, and whatever leaves by one
    /// from which a pod is reached was stamped there. `link`: of the interface by which the packet came.
    #[inline(always)]
    pub const fn is_host(&self, link: Link) -> bool {
        if self.ingress_ifindex == 0 {
            self.is_from_host()
        } else {
            self.stamp == Stamp::HOST.0 && link.is_ifb(self.ingress_ifindex)
        }
    }

    /// The same of a packet that was not sent round. A class that a filter gave may
    /// look like a stamp, and means nothing where the kernel says whose the socket is.
    #[inline(always)]
    pub const fn is_from_host(&self) -> bool {
        self.ingress_ifindex == 0
            && self.has_socket
            && (self.knows_sockets || !Stamp(self.stamp).is_stamp())
    }

    /// A socket of this host sent the packet, beyond doubt.
    #[inline(always)]
    pub const fn is_of_this_hosts_socket(&self) -> bool {
        self.ingress_ifindex == 0 && self.has_socket && self.knows_sockets
    }

    /// The packet began at a socket of this host or of a container.
    #[inline(always)]
    const fn has_socket_of_its_own(&self) -> bool {
        self.ingress_ifindex == 0 && (self.has_socket || self.has_foreign_socket)
    }
}

/// What a decision asks of an [`Origin`], in one word: its fields would each take a place on the program's
/// stack. Bits 0: this host made the packet; 1: egress is still to be judged; 2: it began at a socket of this
/// host or of a container; 3: a tag stands in its metadata; 16: the interface by which it
/// entered this host; 48: its stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Whence(pub u64);

impl Whence {
    const HOST: u64 = 1;
    const OWED: u64 = 2;
    const SOCKET: u64 = 4;
    const TAGGED: u64 = 8;
    const INTERFACE: u32 = 16;
    const STAMP: u32 = 48;

    /// What is known of a packet's origin; `link`: of the interface by which it came.
    #[inline(always)]
    pub const fn of(origin: &Origin, link: Link) -> Self {
        let mut word = (origin.ingress_ifindex as u64) << Self::INTERFACE
            | (origin.stamp as u64) << Self::STAMP
            | (origin.has_vlan_tag as u64) << Self::TAGGED.ilog2();
        // From elsewhere, and nobody's: most packets.
        let is_strange = origin.stamp & Stamp::JUDGED == 0 && link.0 == Link::NONE.0;
        if is_strange && origin.ingress_ifindex != 0 {
            return Self(word);
        }
        if origin.is_host(link) {
            word |= Self::HOST;
        }
        if way(origin, link) != 0 {
            word |= Self::OWED;
        }
        if origin.has_socket_of_its_own() {
            word |= Self::SOCKET;
        }
        Self(word)
    }

    /// As [`Origin::is_host`].
    #[inline(always)]
    pub const fn is_host(self) -> bool {
        self.0 & Self::HOST != 0
    }

    /// Whether the sender's egress is still to be judged, by [`owed`](crate::owed).
    #[inline(always)]
    pub const fn is_owed(self) -> bool {
        self.0 & Self::OWED != 0
    }

    /// An 802.1Q tag stands in the packet's metadata.
    #[inline(always)]
    pub const fn has_vlan_tag(self) -> bool {
        self.0 & Self::TAGGED != 0
    }

    /// The interface by which the packet entered this host, 0 when it began here or lost it.
    #[inline(always)]
    pub const fn ingress_ifindex(self) -> u32 {
        (self.0 >> Self::INTERFACE) as u32
    }

    /// The endpoint of this node that sent the packet: whose interface it came by, or where that is a
    /// bridge, the one that the stamp says. A container's own packets have no interface and are
    /// nobody's, whatever it wrote there.
    #[inline(always)]
    pub fn source<W: Policy>(self, world: &W) -> Option<&Endpoint> {
        if self.0 & Self::SOCKET != 0 {
            return None;
        }
        let ingress_ifindex = self.ingress_ifindex();
        let stamp = Stamp((self.0 >> Self::STAMP) as u16);
        let id = match world.number_at(ingress_ifindex) {
            Some(id) => id,
            None if stamp.is_stamp() => stamp.endpoint(),
            None => return None,
        };
        let source = world.source_endpoint(id)?;
        let is_whole = source.ifindex == ingress_ifindex
            || (source.bridge != 0 && source.bridge == ingress_ifindex)
            || ingress_ifindex == 0;
        is_whole.then_some(source)
    }
}

/// A word of POD_LINKS, in which interfaces share a place whose indices are the same modulo their number –
/// bits 0: whether packets of pods come by one of them, 32: the index of one that is an IFB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link(pub u64);

impl Link {
    /// No pods' and no IFB.
    pub const NONE: Self = Self(0);

    /// Whether packets of pods come by this interface. May be true of one more, never of one less.
    #[inline(always)]
    pub const fn is_pods(self) -> bool {
        self.0 as u32 != 0
    }

    /// Whether the interface is an IFB.
    #[inline(always)]
    pub const fn is_ifb(self, ifindex: u32) -> bool {
        ifindex != 0 && (self.0 >> 32) as u32 == ifindex
    }
}

/// What `from_pod` writes into `skb->tc_index`: that it ran, whether egress is still owed, and the
/// endpoint's number. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(pub u16);

impl Stamp {
    const JUDGED: u16 = 0x8000;
    const OWED: u16 = 0x4000;
    const ENDPOINT: u16 = 0x3fff;

    /// Of a packet of this host, on its way to a pod.
    pub const HOST: Self = Self(Self::JUDGED | Self::ENDPOINT);

    /// Whether a pod's hook wrote it: a class is none.
    #[inline(always)]
    pub const fn is_stamp(self) -> bool {
        self.0 & Self::JUDGED != 0 && self.0 != Self::HOST.0
    }

    /// Whether a pod's hook wrote that egress is still to be judged where the packet arrives.
    #[inline(always)]
    pub const fn is_owed(self) -> bool {
        self.0 & (Self::JUDGED | Self::OWED) == Self::JUDGED | Self::OWED
    }

    /// The endpoint that it names.
    #[inline(always)]
    pub const fn endpoint(self) -> EndpointId {
        EndpointId(self.0 & Self::ENDPOINT)
    }

    /// Egress was judged for this endpoint. An interface without an endpoint stamps number 0.
    #[inline(always)]
    pub const fn judged(endpoint: EndpointId) -> Self {
        Self(Self::JUDGED | (endpoint.0 & Self::ENDPOINT))
    }

    /// The same when egress was judged where the packet arrived; what had no stamp is nobody's.
    #[inline(always)]
    pub const fn paid(self) -> Self {
        if self.is_stamp() {
            Self::judged(self.endpoint())
        } else {
            Self::judged(EndpointId::NONE)
        }
    }

    /// Egress of this endpoint was judged by an address behind which another may stand.
    #[inline(always)]
    pub const fn owed(endpoint: EndpointId) -> Self {
        Self(Self::judged(endpoint).0 | Self::OWED)
    }
}

const _: () = assert!(MAX_ENDPOINTS < Stamp::ENDPOINT as u32);
