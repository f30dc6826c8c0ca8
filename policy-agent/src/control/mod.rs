//! The control socket: requests to a running agent, and its answers.
//!
//! Owns the protocol, the socket and the clients that are served at a time; must not know what an
//! answer is made of. Invariants: nobody who asks holds up the agent's loop, or others who ask; what
//! comes over the socket is bounded before it is read; the socket is its user's alone from its first
//! moment.

mod client;
mod protocol;
mod server;

pub use client::{Replies, ask, follow};
pub use protocol::{
    ControlError, Explain, Flows, MOST_REQUEST, Observe, Request, Sight, read_request,
};
pub(crate) use server::{Answers, Client, listen};
