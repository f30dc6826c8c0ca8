//! The packet parser and the verdict logic, for the kernel and for tests on the host.
//!
//! [`from_pod`] and [`to_pod`] decide about one frame each. What they need of the world – maps,
//! clock, configuration – they ask through [`lookup`], what they need of the frame through
//! [`packet::Bytes`]; the binary of this crate binds both to the kernel. Ingress and egress are
//! seen from the pod: `from_pod` runs at TC ingress of the host-side interface and decides about
//! egress, `to_pod` at TC egress and decides about ingress.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(not(target_arch = "bpf"))]
extern crate std;

mod answer;
pub mod budget;
pub mod case;
pub mod decision;
pub mod family;
pub mod flows;
pub mod fragment;
pub mod from_pod;
pub mod judge;
pub mod judgement;
pub mod lines;
pub mod link;
pub mod lookup;
#[cfg(not(target_arch = "bpf"))]
pub mod memory;
pub mod neighbour;
pub mod origin;
pub mod owed;
pub mod packet;
pub mod port;
pub mod question;
pub mod read;
pub mod recall;
pub mod related;
pub mod rules;
pub mod sender;
pub mod steps;
pub mod to_pod;

pub use decision::Decision;
pub use judgement::Judgement;
pub use origin::{Link, Origin, Stamp, Whence};
pub use port::Port;
