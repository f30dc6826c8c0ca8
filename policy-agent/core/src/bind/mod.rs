//! Which interface is which pod.
//!
//! Pure: interfaces and pods come in, decisions come out; attaching and waiting are
//! others' work. A pod is recognised by its recorded addresses (`status.podIPs`), as
//! they are first seen inside the network namespace behind an interface. A pod controls what is
//! inside, so a decision is made once, for as long as the interface lives:
//!
//! - what an earlier run decided ([`Pin`]) stands: the interface is that pod's, or nobody's;
//! - the addresses that were seen first count, one family after the other; later ones move
//!   nothing, and when they are a pod's, the interface is unknown and that is reported;
//! - only pods of this node are candidates, where the node's name is known;
//! - a pod that was bound to an interface that is gone is not bound to another one, before its
//!   object names other addresses or another UID: a new sandbox with its address is a new pod's;
//! - a network namespace is one pod's: no other interface into it is another pod's;
//! - several pods for one interface, or several interfaces for one pod, leave the interfaces
//!   unknown and are reported; a decided one is not affected;
//! - a pod that is gone, or came back with another UID, leaves its interface unknown: the new pod
//!   is found behind a new interface. Only where the source has no UIDs may the interface be
//!   decided again, and then by the addresses of its first decision.
//!
//! Invariant: the outcome does not depend on whether the interface or its pod was seen first, and
//! an event is given exactly when an outcome changes.

mod binder;
mod decide;
mod first;
mod numbers;
mod pin;
mod sandboxes;

use std::{net::IpAddr, sync::Arc};

use crate::model::ObjectName;

pub use binder::Binder;
pub use numbers::EndpointIds;
pub use pin::{MOST_ADDRESSES, Pin};

/// One interface of the host as netlink shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceFact {
    /// Its index on the host.
    pub ifindex: u32,
    /// What identifies the network namespace of its other end (path or id), if it is known.
    /// Another one under the same index is another interface.
    pub netns: Option<Arc<str>>,
    /// Addresses inside that namespace.
    pub addresses: Vec<IpAddr>,
    /// The other end is in another network namespace: the interface may be a pod's. Others are
    /// left alone.
    pub sandbox: bool,
}

/// Why it is not known which pod an interface belongs to, or not for sure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindProblem {
    /// Several pods have addresses that are seen behind the interface.
    #[error("several pods have addresses behind the interface: {}", list(.0))]
    SeveralPods(Vec<ObjectName>),
    /// The pod's addresses are seen behind other interfaces too.
    #[error("addresses of pod {pod} are also behind interfaces {interfaces:?}")]
    SeveralInterfaces {
        /// The pod.
        pod: ObjectName,
        /// The other interfaces; only the decided one when there is one.
        interfaces: Vec<u32>,
    },
    /// The pod that the interface belonged to is gone or was created anew.
    #[error("pod {0} of the interface is gone")]
    PodGone(ObjectName),
    /// An earlier run decided it for a pod that is not known now.
    #[error("an earlier run knew the pod of the interface; it is gone")]
    EarlierPod,
    /// The pod with these addresses had another interface, which is gone: a new pod got its address
    /// before the old object went.
    #[error(
        "pod {0} had another interface, which is gone; the new pod with its address is not known yet"
    )]
    Spent(ObjectName),
    /// The pod's addresses are behind an interface into a network namespace that is another pod's.
    #[error(
        "addresses of pod {0} are behind the interface, whose network namespace is another pod's"
    )]
    OtherSandbox(ObjectName),
    /// The interface has a pod's addresses, but what an earlier run remembered of it cannot be read, or was too
    /// much to be kept.
    #[error(
        "addresses of pod {0} are behind the interface, but what an earlier run knew of it could not be kept or read: it is nobody's until it is made anew"
    )]
    Unremembered(ObjectName),
    /// The pod's addresses were added to the interface after others had been seen.
    #[error(
        "addresses of pod {0} were added behind the interface after others had been seen there"
    )]
    Later(ObjectName),
    /// It is known whose it is, but not what the pod is.
    #[error("pod {0} cannot be read: it is isolated")]
    Unreadable(ObjectName),
}

fn list(names: &[ObjectName]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// What is known of one interface now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindEvent {
    /// The interface.
    pub ifindex: u32,
    /// Its pod; `None`: unknown, also because the interface is gone or cannot be a pod's any more.
    pub pod: Option<ObjectName>,
    /// Why the pod is unknown, where more is to say than that it was not seen yet.
    pub problem: Option<BindProblem>,
}
