//! What the two address families have in common, so that every decision is written once. Knows
//! addresses and keys, no packets: how those are read is [`crate::packet::Wire`]'s.

use policy_common::{Endpoint, EndpointId, FlowKeyV4, FlowKeyV6, Recent, V4, V6};

/// An IP address.
pub trait Family: Copy + Default + PartialEq {
    /// 4 or 6.
    const VERSION: u8;
    /// Key of the flow table.
    type Key: Copy + Default;

    /// The key of a flow.
    fn key(
        endpoint: EndpointId,
        protocol: u8,
        pod: (Self, [u8; 2]),
        peer: (Self, [u8; 2]),
    ) -> Self::Key;
    /// Writes a flow's key as the list of recently opened flows holds it.
    fn remember(key: &Self::Key, recent: &mut Recent);
    /// A hash of the peer's address in a key.
    fn peer_hash(key: &Self::Key) -> u32;
    /// The flow that the list holds, when it is one of this family.
    fn recall(recent: &Recent) -> Option<Self::Key>;
    /// The endpoint's own address, unspecified when it has none.
    fn of(endpoint: &Endpoint) -> Self;
    /// As the first bytes of an IPv6 address.
    fn widened(self) -> V6;
    /// 0.0.0.0 or ::.
    fn is_unspecified(self) -> bool;
    /// 127.0.0.0/8 or ::1.
    fn is_loopback(self) -> bool;
    /// 224.0.0.0/4 or ff00::/8.
    fn is_multicast(self) -> bool;
    /// 255.255.255.255.
    fn is_broadcast(self) -> bool;
    /// fe80::/10; IPv4 link-local addresses are ordinary ones.
    fn is_link_local(self) -> bool;
    /// An IPv6 destination that no router forwards: link-local, or multicast of at most link scope.
    fn is_link_scope(self) -> bool;
}

/// The two key types differ in their addresses only.
macro_rules! key {
    ($key:ident) => {
        #[inline(always)]
        fn key(
            endpoint: EndpointId,
            protocol: u8,
            pod: (Self, [u8; 2]),
            peer: (Self, [u8; 2]),
        ) -> $key {
            $key {
                endpoint,
                protocol,
                reserved: 0,
                pod: pod.0,
                peer: peer.0,
                pod_port: pod.1,
                peer_port: peer.1,
            }
        }
    };
}

impl Family for V4 {
    const VERSION: u8 = 4;
    type Key = FlowKeyV4;

    key!(FlowKeyV4);

    #[inline(always)]
    fn remember(key: &FlowKeyV4, recent: &mut Recent) {
        recent.key.endpoint = key.endpoint;
        recent.key.protocol = key.protocol;
        recent.key.pod = key.pod.widened();
        recent.key.peer = key.peer.widened();
        recent.key.pod_port = key.pod_port;
        recent.key.peer_port = key.peer_port;
        recent.family = 4;
        recent.peer_hash = Self::peer_hash(key);
    }

    #[inline(always)]
    fn peer_hash(key: &FlowKeyV4) -> u32 {
        u32::from_ne_bytes(key.peer.0)
    }

    #[inline(always)]
    fn recall(recent: &Recent) -> Option<FlowKeyV4> {
        let narrow = |address: V6| {
            let [a, b, c, d, ..] = address.0;
            V4([a, b, c, d])
        };
        let key = &recent.key;
        (recent.family == 4).then(|| FlowKeyV4 {
            endpoint: key.endpoint,
            protocol: key.protocol,
            reserved: 0,
            pod: narrow(key.pod),
            peer: narrow(key.peer),
            pod_port: key.pod_port,
            peer_port: key.peer_port,
        })
    }

    #[inline(always)]
    fn of(endpoint: &Endpoint) -> Self {
        endpoint.v4
    }

    #[inline(always)]
    fn widened(self) -> V6 {
        V6(bytemuck::cast([u32::from_ne_bytes(self.0), 0, 0, 0]))
    }

    #[inline(always)]
    fn is_unspecified(self) -> bool {
        self.0 == [0; 4]
    }

    #[inline(always)]
    fn is_loopback(self) -> bool {
        self.0[0] == 127
    }

    #[inline(always)]
    fn is_multicast(self) -> bool {
        self.0[0] & 0xf0 == 0xe0
    }

    #[inline(always)]
    fn is_broadcast(self) -> bool {
        self.0 == [0xff; 4]
    }

    #[inline(always)]
    fn is_link_local(self) -> bool {
        false
    }

    #[inline(always)]
    fn is_link_scope(self) -> bool {
        false
    }
}

impl Family for V6 {
    const VERSION: u8 = 6;
    type Key = FlowKeyV6;

    key!(FlowKeyV6);

    #[inline(always)]
    fn remember(key: &FlowKeyV6, recent: &mut Recent) {
        recent.key = *key;
        recent.family = 6;
        recent.peer_hash = Self::peer_hash(key);
    }

    #[inline(always)]
    fn peer_hash(key: &FlowKeyV6) -> u32 {
        let [a, b, c, d]: [u32; 4] = bytemuck::cast(key.peer.0);
        a ^ b.rotate_left(7) ^ c.rotate_left(14) ^ d.rotate_left(21)
    }

    #[inline(always)]
    fn recall(recent: &Recent) -> Option<FlowKeyV6> {
        (recent.family == 6).then_some(recent.key)
    }

    #[inline(always)]
    fn of(endpoint: &Endpoint) -> Self {
        endpoint.v6
    }

    #[inline(always)]
    fn widened(self) -> V6 {
        self
    }

    #[inline(always)]
    fn is_unspecified(self) -> bool {
        u128::from_ne_bytes(self.0) == 0
    }

    #[inline(always)]
    fn is_loopback(self) -> bool {
        u128::from_ne_bytes(self.0) == 1u128.to_be()
    }

    #[inline(always)]
    fn is_multicast(self) -> bool {
        self.0[0] == 0xff
    }

    #[inline(always)]
    fn is_broadcast(self) -> bool {
        false
    }

    #[inline(always)]
    fn is_link_local(self) -> bool {
        self.0[0] == 0xfe && self.0[1] & 0xc0 == 0x80
    }

    #[inline(always)]
    fn is_link_scope(self) -> bool {
        self.is_link_local() || (self.is_multicast() && self.0[1] & 0xf <= 2)
    }
}
