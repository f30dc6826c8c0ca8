//! What the two address families have in common, so that every decision is written once.

use policy_common::{Endpoint, EndpointId, FlowKeyV4, FlowKeyV6, Recent, V4, V6};

use crate::{
    lookup::World,
    packet::{Bytes, IpPacket, ParseError, Segment, ethernet, ipv4, ipv6, plain, quote},
};

/// An IP address and the packets that carry it.
pub trait Family: Copy + Default + PartialEq {
    /// 4 or 6.
    const VERSION: u8;
    /// Key of the flow table.
    type Key: Copy + Default;

    /// Reads the headers of an ordinary packet in the shortest way.
    fn plain<B: Bytes + ?Sized>(frame: &B) -> Option<(IpPacket<Self>, Segment)>;
    /// Reads the headers of any packet.
    fn parse<B: Bytes + ?Sized>(frame: &B, offset: usize) -> Result<IpPacket<Self>, ParseError>;
    /// Reads the packet that an ICMP error quotes.
    fn quote<B: Bytes + ?Sized>(frame: &B, offset: usize, end: usize)
    -> Option<quote::Quote<Self>>;
    /// An address in a frame.
    fn address_at<B: Bytes + ?Sized>(frame: &B, offset: usize) -> Option<Self>;
    /// The key of a flow.
    fn key(
        endpoint: EndpointId,
        protocol: u8,
        pod: (Self, [u8; 2]),
        peer: (Self, [u8; 2]),
    ) -> Self::Key;
    /// Writes a flow's key as the list of recently opened flows holds it.
    fn remember(key: &Self::Key, recent: &mut Recent);
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

/// Reads the headers of a frame's packet, and with the shortest way its transport header too.
#[inline(always)]
pub fn read<F: Family, W: World, B: Bytes + ?Sized>(
    world: &W,
    frame: &B,
) -> Result<(IpPacket<F>, Segment), ParseError> {
    if let Some((packet, segment)) = F::plain(frame) {
        return Ok((packet, segment));
    }
    let read = world.lend(|packet| follow(frame, packet).map(|()| *packet));
    Ok((read.ok_or(ParseError::Malformed)??, Segment::NONE))
}

/// Not inlined: the kernel gives all frames of a program 512 bytes of stack.
#[inline(never)]
fn follow<F: Family, B: Bytes + ?Sized>(
    frame: &B,
    packet: &mut IpPacket<F>,
) -> Result<(), ParseError> {
    *packet = F::parse(frame, ethernet::HEADER_LEN)?;
    Ok(())
}

impl Family for V4 {
    const VERSION: u8 = 4;
    type Key = FlowKeyV4;

    #[inline(always)]
    fn plain<B: Bytes + ?Sized>(frame: &B) -> Option<(IpPacket<Self>, Segment)> {
        plain::v4(frame)
    }

    #[inline(always)]
    fn parse<B: Bytes + ?Sized>(frame: &B, offset: usize) -> Result<IpPacket<Self>, ParseError> {
        ipv4::parse(frame, offset)
    }

    #[inline(always)]
    fn quote<B: Bytes + ?Sized>(
        frame: &B,
        offset: usize,
        end: usize,
    ) -> Option<quote::Quote<Self>> {
        quote::parse_v4(frame, offset, end)
    }

    #[inline(always)]
    fn address_at<B: Bytes + ?Sized>(frame: &B, offset: usize) -> Option<Self> {
        frame.bytes(offset).map(V4)
    }

    #[inline(always)]
    fn key(
        endpoint: EndpointId,
        protocol: u8,
        pod: (Self, [u8; 2]),
        peer: (Self, [u8; 2]),
    ) -> FlowKeyV4 {
        FlowKeyV4 {
            endpoint,
            protocol,
            reserved: 0,
            pod: pod.0,
            peer: peer.0,
            pod_port: pod.1,
            peer_port: peer.1,
        }
    }

    #[inline(always)]
    fn remember(key: &FlowKeyV4, recent: &mut Recent) {
        recent.key.endpoint = key.endpoint;
        recent.key.protocol = key.protocol;
        recent.key.pod = key.pod.widened();
        recent.key.peer = key.peer.widened();
        recent.key.pod_port = key.pod_port;
        recent.key.peer_port = key.peer_port;
        recent.family = 4;
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

    #[inline(always)]
    fn plain<B: Bytes + ?Sized>(frame: &B) -> Option<(IpPacket<Self>, Segment)> {
        plain::v6(frame)
    }

    #[inline(always)]
    fn parse<B: Bytes + ?Sized>(frame: &B, offset: usize) -> Result<IpPacket<Self>, ParseError> {
        ipv6::parse(frame, offset)
    }

    #[inline(always)]
    fn quote<B: Bytes + ?Sized>(
        frame: &B,
        offset: usize,
        end: usize,
    ) -> Option<quote::Quote<Self>> {
        quote::parse_v6(frame, offset, end)
    }

    #[inline(always)]
    fn address_at<B: Bytes + ?Sized>(frame: &B, offset: usize) -> Option<Self> {
        frame.bytes(offset).map(V6)
    }

    #[inline(always)]
    fn key(
        endpoint: EndpointId,
        protocol: u8,
        pod: (Self, [u8; 2]),
        peer: (Self, [u8; 2]),
    ) -> FlowKeyV6 {
        FlowKeyV6 {
            endpoint,
            protocol,
            reserved: 0,
            pod: pod.0,
            peer: peer.0,
            pod_port: pod.1,
            peer_port: peer.1,
        }
    }

    #[inline(always)]
    fn remember(key: &FlowKeyV6, recent: &mut Recent) {
        recent.key = *key;
        recent.family = 6;
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
