//! Verdicts, and the reasons for them that people see.

use bytemuck::{Pod, Zeroable};

/// What a rule says: an action in the low bits, an audit bit. Zeroed memory denies.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
pub struct Verdict(pub u8);

/// The action of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Drop the packet.
    Deny,
    /// Let the packet pass.
    Allow,
}

impl Verdict {
    /// Drop.
    pub const DENY: Self = Self(0);
    /// Let pass.
    pub const ALLOW: Self = Self(1);
    /// Reserved for an answer to the sender; drops today.
    pub const REJECT: Self = Self(2);
    /// Reserved: report what would have been dropped.
    pub const AUDIT: u8 = 0x80;
    /// Beside an action, in answers and flows: whoever is reached may be another than the packet says,
    /// so that egress is judged once more at the pod that it reaches.
    pub const OWED: u8 = 0x40;

    /// The bits that say the action.
    pub const ACTION: u8 = !(Self::AUDIT | Self::OWED);

    /// The action; everything that is not an allow denies.
    #[inline(always)]
    pub const fn action(self) -> Action {
        if self.0 & Self::ACTION == Self::ALLOW.0 {
            Action::Allow
        } else {
            Action::Deny
        }
    }

    /// Whether the packet passes.
    #[inline(always)]
    pub const fn allows(self) -> bool {
        matches!(self.action(), Action::Allow)
    }

    /// Whether egress is judged once more.
    #[inline(always)]
    pub const fn is_owed(self) -> bool {
        self.0 & Self::OWED != 0
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])+ $variant:ident = $number:literal, $name:literal;)+) => {
        /// Why a packet passed or was dropped. Numbers are stable: they index METRICS.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])+ $variant = $number,)+ }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name that logs, metrics and `status` show.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The reason with this number.
            pub const fn from_u8(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

impl Reason {
    /// Slots per direction in METRICS.
    pub const COUNT: u32 = 64;
    /// First number of a reason to drop.
    pub const FIRST_DROP: u8 = 16;

    /// Whether packets with this reason are dropped.
    pub const fn is_drop(self) -> bool {
        self as u8 >= Self::FIRST_DROP
    }
}

reasons! {
    /// No policy covers the direction.
    NotIsolated = 0, "not-isolated";
    /// The packet belongs to an allowed flow.
    Flow = 1, "flow";
    /// A rule allows the packet.
    Allowed = 2, "allowed";
    /// This host's own packet, or a packet to this host.
    Host = 3, "host";
    /// An ICMP error about a packet of an allowed flow.
    RelatedError = 4, "related-icmp-error";
    /// ARP, neighbour discovery, MLD or IGMP.
    LinkControl = 5, "link-control";
    /// No rule allows the connection.
    Policy = 16, "policy";
    /// The flow was allowed once and a change forbids it.
    FlowDenied = 17, "flow-denied";
    /// The source address is not the pod's.
    SourceAddress = 18, "source-address";
    /// The destination address is not the pod's.
    DestinationAddress = 19, "destination-address";
    /// ARP with a sender address that is not the pod's.
    ArpSender = 20, "arp-sender";
    /// Neighbour discovery for an address that is not the pod's.
    NeighbourSender = 21, "neighbour-sender";
    /// A router advertisement or a redirect from a pod.
    RouterMessage = 22, "router-message";
    /// A tunnel packet that this node, or another one of the cluster, would unpack.
    Encapsulation = 23, "encapsulation";
    /// A loopback destination.
    Loopback = 24, "loopback";
    /// A VLAN tag, behind which addresses cannot be checked.
    VlanTag = 25, "vlan-tag";
    /// Headers that contradict themselves or end too early.
    Malformed = 26, "malformed";
    /// A first fragment without its whole transport header.
    TinyFragment = 27, "tiny-fragment";
    /// A later fragment whose first part was denied or not seen.
    UnseenFragment = 28, "unseen-fragment";
    /// A later fragment that starts inside the transport header.
    OverlappingFragment = 29, "overlapping-fragment";
    /// More extension headers than are walked.
    ExtensionHeaders = 30, "extension-headers";
    /// A routing header or an IPv4 source route with addresses left: the destination is not the last
    /// one.
    RoutingHeader = 31, "routing-header";
    /// Neither IP nor ARP.
    Ethertype = 32, "ethertype";
    /// The pod behind the interface is not known yet.
    UnknownEndpoint = 33, "unknown-endpoint";
    /// The flow table is full.
    FlowTableFull = 34, "flow-table-full";
    /// The endpoint has as many flows as it may have.
    FlowLimit = 35, "flow-limit";
    /// An ICMP error about a packet that the pod did not receive.
    ForgedError = 36, "forged-icmp-error";
    /// ARP that carries more than ARP.
    LinkData = 38, "link-data";
    /// The Ethernet source is not the pod's.
    LinkAddress = 39, "link-address";
    /// Egress is to be judged where the packet arrives, and the program for it cannot be called.
    Unjudged = 40, "unjudged";
}
