//! What the agent answers on its control socket.
//!
//! Runs in the threads of clients. Invariant: what needs the loop waits for it here, never the other
//! way round.

use std::io;

use super::status::Published;
use crate::control::{Answers, Client, Request};

/// Everything that answers need.
pub(super) struct Desk {
    pub(super) published: Published,
}

impl Answers for Desk {
    fn answer(&self, request: Request, client: &mut Client) -> io::Result<()> {
        match request {
            Request::Status => client.say(&self.published.get()),
        }
    }
}
