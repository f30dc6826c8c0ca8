//! What the agent answers on its control socket.
//!
//! Runs in the threads of clients. Invariant: what needs the loop waits for it here, never the other
//! way round.

mod explain;
mod observe;
mod opened;
mod tables;

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, sync_channel},
    },
    time::Duration,
};

pub(super) use opened::watch;
use policy_common::Config;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{
    Agent, AgentOptions, causes,
    observers::Observers,
    questions::{Ask, Reply},
    status::Published,
};
use crate::{
    control::{Answers, Client, Request},
    datapath::{PinDir, Probe},
    telemetry,
};

/// Questions that may wait for the loop.
const MOST_QUESTIONS: usize = 16;
/// How long the loop may take to get round to one.
const PATIENCE: Duration = Duration::from_secs(3);

/// Everything that answers need.
pub(super) struct Desk {
    published: Published,
    observers: Observers,
    questions: Sender<Ask>,
    pins: PinDir,
    config: Config,
    /// Who asks waits for who asked before: the programs run on one packet at a time.
    probe: Mutex<Probe>,
}

impl Desk {
    /// The desk, and the questions that it has for the loop.
    pub(super) fn new(options: &AgentOptions, agent: &Agent) -> (Self, Receiver<Ask>) {
        let (questions, asked) = channel(MOST_QUESTIONS);
        let desk = Self {
            published: agent.published.clone(),
            observers: agent.observers.clone(),
            questions,
            pins: options.pins.clone(),
            config: options.config,
            probe: Mutex::default(),
        };
        (desk, asked)
    }

    /// Asks the loop.
    fn ask<T>(&self, question: impl FnOnce(Reply<T>) -> Ask) -> Result<T, String> {
        let (reply, answer) = sync_channel(1);
        let is_busy = self.questions.try_send(question(reply)).is_err();
        let answer = match is_busy {
            true => Err(RecvTimeoutError::Timeout),
            false => answer.recv_timeout(PATIENCE),
        };
        answer.unwrap_or_else(|_| Err("the agent's loop is held up".into()))
    }
}

impl Desk {
    /// Jiffies, and how many make a second.
    fn clock(&self) -> Result<(u64, u32), String> {
        let mut probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner);
        probe.clock().map_err(|error| causes(&error))
    }
}

impl Answers for Arc<Desk> {
    fn answer(&self, request: Request, client: &mut Client) -> io::Result<()> {
        match request {
            Request::Status => client.say(&self.published.get()),
            Request::Explain(question) => match self.explain(&question) {
                Ok(answer) => client.say(&answer),
                Err(why) => client.refuse(why),
            },
            Request::Flows(wanted) => self.flows(wanted.pod.as_deref(), client),
            Request::Log => client.say(&telemetry::last_lines()),
            Request::Policies => self.policies(client),
            Request::Observe(wanted) => self.observe(wanted, client),
        }
    }
}
