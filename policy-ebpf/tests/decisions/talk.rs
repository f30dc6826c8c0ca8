//! A connection between the pod and a friend, segment by segment.

use policy_common::{
    Flow, FlowState,
    Reason::{self, Allowed, Flow as Rides},
};
use policy_ebpf::flows::life::is_expired;

use crate::{
    frames::{ACK, SYN, TCP, ip, tcp_at},
    node::{FRIEND, Node, OWN},
};

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Opener,
    Answering,
}
pub(crate) use Who::{Answering, Opener};

/// Initial sequence numbers of both sides.
pub(crate) const ASKS: u32 = 0xffff_fff0;
pub(crate) const ANSWERS: u32 = 0x1234_5678;

/// One connection between the pod and a friend, over either family, opened by either.
pub(crate) struct Talk {
    pub(crate) node: Node,
    family: usize,
    is_pods: bool,
}

impl Talk {
    pub(crate) fn tcp(
        &self,
        who: Who,
        flags: u8,
        sequence: u32,
        acknowledged: u32,
        length: usize,
    ) -> Reason {
        let (source, destination) = match who {
            Opener => (4000, 80),
            Answering => (80, 4000),
        };
        let segment = tcp_at(source, destination, flags, sequence, acknowledged, length);
        self.carries(who, TCP, &segment)
    }

    pub(crate) fn carries(&self, who: Who, protocol: u8, segment: &[u8]) -> Reason {
        let (own, friend) = (OWN[self.family], FRIEND[self.family]);
        if (who == Opener) == self.is_pods {
            self.node.sends(&ip(own, friend, protocol, segment))
        } else {
            self.node.receives(&ip(friend, own, protocol, segment))
        }
    }

    pub(crate) fn flow(&self) -> Flow {
        let (v4, v6) = (
            self.node.world.flows_v4.borrow(),
            self.node.world.flows_v6.borrow(),
        );
        assert_eq!(v4.len() + v6.len(), 1);
        *v4.values().chain(v6.values()).next().expect("a flow")
    }

    pub(crate) fn phase(&self) -> u8 {
        self.flow().state.phase
    }

    pub(crate) fn syn(&self) {
        assert_eq!(self.tcp(Opener, SYN, ASKS, 0, 0), Allowed);
    }

    pub(crate) fn syn_ack(&self) {
        let rides = self.tcp(Answering, SYN | ACK, ANSWERS, ASKS.wrapping_add(1), 0);
        assert_eq!(rides, Rides);
    }

    /// An ordinary segment: so far behind the handshake.
    pub(crate) fn says(&self, who: Who, flags: u8, own: u32, others: u32, length: usize) {
        let (sequence, acknowledged) = match who {
            Opener => (ASKS, ANSWERS),
            Answering => (ANSWERS, ASKS),
        };
        let sequence = sequence.wrapping_add(1 + own);
        let acknowledged = acknowledged.wrapping_add(1 + others);
        let rides = self.tcp(who, flags | ACK, sequence, acknowledged, length);
        assert_eq!(rides, Rides);
    }

    pub(crate) fn established(&self) {
        self.syn();
        self.syn_ack();
        self.says(Opener, 0, 0, 0, 0);
        assert_eq!(self.phase(), FlowState::PHASE_ESTABLISHED);
    }

    /// Whether the entry still lives after so many seconds without a packet.
    pub(crate) fn lives_after(&self, seconds: u32) -> bool {
        self.node.world.pass(seconds);
        // No rule of the answering direction allows the segment: only the flow does.
        let flow = self.flow();
        let world = &self.node.world;
        !is_expired(&flow, TCP, world.now.get(), world.config.hz)
    }
}

/// Every family and opener.
pub(crate) fn talks() -> impl Iterator<Item = Talk> {
    [(0, true), (0, false), (1, true), (1, false)]
        .map(|(family, is_pods)| Talk {
            node: Node::new(),
            family,
            is_pods,
        })
        .into_iter()
}
