//! Where a packet came from, by signals that no pod can forge.

use policy_common::EndpointId;

/// What the packet's metadata says. `from_pod` overwrites the stamp of every packet, so a stamp of
/// a pod's own making never gets beyond its interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The interface whose hook runs.
    pub ifindex: u32,
    /// The interface by which the packet entered this host, 0 when it began here or lost it.
    pub ingress_ifindex: u32,
    /// A socket of this host is attached to the packet.
    pub has_socket: bool,
    /// [`Stamp`], or the class that a filter gave the packet.
    pub stamp: u16,
    /// An 802.1Q tag stands in the packet's metadata.
    pub has_vlan_tag: bool,
}

impl Origin {
    /// This host made the packet. All three signals are needed: packets that the host fragments
    /// again lose their interface, bridged ones keep the pod's socket.
    #[inline(always)]
    pub const fn is_host(&self, has_v6_fragment_header: bool) -> bool {
        self.ingress_ifindex == 0
            && !Stamp(self.stamp).is_stamp()
            && self.has_socket
            && !has_v6_fragment_header
    }
}

/// What `from_pod` writes into `skb->tc_index`: a bit that says whether egress was judged, and the
/// endpoint's number. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(pub u16);

impl Stamp {
    const JUDGED: u16 = 0x8000;

    /// Whether a pod's hook wrote it: a class is none.
    #[inline(always)]
    pub const fn is_stamp(self) -> bool {
        self.0 & Self::JUDGED != 0
    }

    /// Egress was judged for this endpoint. An interface without an endpoint stamps number 0.
    #[inline(always)]
    pub const fn judged(endpoint: EndpointId) -> Self {
        Self(Self::JUDGED | (endpoint.0 & 0x7fff))
    }
}
