//! The places where programs stand, and the interfaces that have them.

use aya::programs::TcAttachType;
use policy_common::names;

/// One place for one program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// TC ingress of a pod's host-side interface.
    FromPod,
    /// TC egress of a pod's host-side interface.
    ToPod,
    /// TC ingress of a bridge port that is no pod's.
    ClearStamp,
    /// TC egress of a bridge that has pods, where this host has IFBs.
    StampHost,
    /// TC egress of an interface by which packets leave the node.
    Exit,
}

impl Hook {
    /// The hooks of an endpoint's interface, in the order in which they are attached: nothing may
    /// reach a pod that cannot be answered for.
    pub const ENDPOINT: [Self; 2] = [Self::FromPod, Self::ToPod];

    /// Every hook.
    pub const ALL: [Self; 5] = [
        Self::FromPod,
        Self::ToPod,
        Self::ClearStamp,
        Self::StampHost,
        Self::Exit,
    ];

    /// The program's name.
    pub const fn program(self) -> &'static str {
        match self {
            Self::FromPod => names::FROM_POD,
            Self::ToPod => names::TO_POD,
            Self::ClearStamp => names::CLEAR_STAMP,
            Self::StampHost => names::STAMP_HOST,
            Self::Exit => names::EXIT,
        }
    }

    /// The name of the program that does the same and ends the chain, where there is one.
    pub(super) const fn last(self) -> Option<&'static str> {
        match self {
            Self::FromPod => Some(names::FROM_POD_LAST),
            Self::ToPod => Some(names::TO_POD_LAST),
            Self::ClearStamp | Self::StampHost | Self::Exit => None,
        }
    }

    /// The direction from the interface's side, as TC has it.
    pub const fn direction(self) -> TcAttachType {
        match self {
            Self::FromPod | Self::ClearStamp => TcAttachType::Ingress,
            Self::ToPod | Self::StampHost | Self::Exit => TcAttachType::Egress,
        }
    }
}

/// An interface of this network namespace, with the name that it has now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) index: u32,
    pub(crate) name: String,
}

impl Interface {
    /// `None`: there is no interface of this index.
    pub(crate) fn current(index: u32) -> Option<Self> {
        let name = nix::net::if_::if_indextoname(index).ok()?;
        // nix (0.31.3) takes the answer that there is none for an empty name.
        let name = name.into_string().ok().filter(|name| !name.is_empty());
        name.map(|name| Self { index, name })
    }
}

/// The name that an interface has now.
pub fn interface_name(index: u32) -> Option<String> {
    Interface::current(index).map(|interface| interface.name)
}

/// The index of the interface with this name.
pub(crate) fn current_index(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_no_interface_has_has_no_name() {
        assert_eq!(interface_name(1).as_deref(), Some("lo"));
        assert_eq!(interface_name(i32::MAX.cast_unsigned()), None);
    }
}
