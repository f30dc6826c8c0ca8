//! The twin of a node in the kernel: the same tables in a loaded datapath, and each packet through
//! both.
//!
//! A case goes on alone where the kernel cannot follow: when it lets time pass, chooses other limits
//! or writes flows itself.

mod kernel;
mod tables;
mod tally;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use policy_common::{
    Config, Direction, Flow, FlowKeyV4, FlowKeyV6, FragmentKey, FragmentPorts, Reason,
};
use policy_ebpf::{Origin, lookup::Policy as _, memory::MemoryWorld, owed};

use self::{kernel::Kernel, tally::Tally};

/// A packet at the pod's interface.
pub(crate) struct Shot<'a> {
    /// The hook where it comes by.
    pub(crate) hook: Direction,
    /// What is judged there, and counted: the hook's direction, or what is owed of the sender's.
    pub(crate) direction: Direction,
    pub(crate) frame: &'a [u8],
    pub(crate) origin: Origin,
}

/// What packets left in the tables.
#[derive(Default, PartialEq)]
struct Left {
    flows_v4: HashMap<FlowKeyV4, Flow>,
    flows_v6: HashMap<FlowKeyV6, Flow>,
    fragments: HashMap<FragmentKey, FragmentPorts>,
}

impl Left {
    fn by(world: &MemoryWorld) -> Self {
        Self {
            flows_v4: world.flows_v4.borrow().clone(),
            flows_v6: world.flows_v6.borrow().clone(),
            fragments: world.fragments.borrow().clone(),
        }
    }
}

/// A node's twin.
#[derive(Default)]
pub(crate) struct Twin {
    /// Which of the kernel's nodes it is; 0 before the first packet.
    number: Cell<u64>,
    /// The kernel did not see everything that the core saw.
    is_alone: Cell<bool>,
    left: RefCell<Left>,
    tally: Tally,
}

impl Twin {
    /// What the core says, and the kernel too.
    pub(crate) fn beside(
        &self,
        world: &MemoryWorld,
        shot: &Shot<'_>,
        decide: impl FnOnce() -> Reason,
    ) -> Reason {
        self.tally.asked();
        let is_alone = self.is_alone.get()
            || !tables::can_follow(world)
            || Left::by(world) != *self.left.borrow();
        self.is_alone.set(is_alone);
        if is_alone {
            return decide();
        }
        if !can_run(world, shot) {
            let reason = decide();
            self.is_alone.set(Left::by(world) != *self.left.borrow());
            return reason;
        }
        let reason = decide();
        Kernel::with(|kernel| {
            let number = kernel.become_node(self.number.get(), world);
            self.number.set(number);
            kernel.check(shot, reason);
            self.tally.checked();
        });
        self.left.replace(Left::by(world));
        reason
    }
}

/// Whether a test run can have this packet: it has room for an IPv6 header and no tag in its
/// metadata, and what is owed is judged first.
fn can_run(world: &MemoryWorld, shot: &Shot<'_>) -> bool {
    const SHORTEST: usize = 54;
    let origin = &shot.origin;
    let link = world.link(origin.ingress_ifindex);
    let is_owed = shot.hook == Direction::Ingress && owed::way(origin, link) != 0;
    let is_meant = is_owed == (shot.hook != shot.direction);
    shot.frame.len() >= SHORTEST && !origin.has_vlan_tag && !origin.knows_sockets && is_meant
}

/// So fast that nothing expires while a case runs.
const HZ: u32 = 1_000_000;

/// What the core is told, but for the clock and the seam.
const CONFIG: Config = Config {
    hz: HZ,
    test_seam: 1,
    ..Config::DEFAULT
};

#[test]
fn a_packet_that_only_one_of_both_lets_through_is_noticed() {
    use crate::{
        frames::{SYN, TCP, ip, tcp},
        node::{CLIENT, Node, OWN},
    };

    let node = Node::new();
    let asks = ip(CLIENT[0], OWN[0], TCP, &tcp(4000, 80, SYN));
    let before = Kernel::with(|kernel| kernel.checked());
    assert_eq!(node.receives(&asks), Reason::Allowed);
    assert_eq!(Kernel::with(|kernel| kernel.checked()), before + 1);

    let shot = Shot {
        hook: Direction::Ingress,
        direction: Direction::Ingress,
        frame: &asks,
        origin: Origin {
            ifindex: crate::node::POD,
            ingress_ifindex: crate::node::UPLINK,
            ..Origin::default()
        },
    };
    let says_otherwise = || node.twin.beside(&node.world, &shot, || Reason::Policy);
    let noticed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(says_otherwise));
    assert!(noticed.is_err());
}
