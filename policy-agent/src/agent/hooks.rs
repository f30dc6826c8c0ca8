//! The thread that puts programs on interfaces and looks where they stand.
//!
//! Owns the [`Attacher`] and the handles of the programs: one attach waits some ten milliseconds
//! for the kernel. Decides nothing: jobs come one by one from whoever reconciles, in the order in
//! which they are to be done. Invariant: every job is answered, by what was seen after it.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{
    AgentError, causes,
    hook_state::{Cause, Seen},
    reconcile::Verb,
};
use crate::datapath::{AttachError, Attacher, HeldLinks, Hook, Place, Programs};

/// One hook of one interface during its life: indices are given again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    /// The generation whose programs were there when the job was given.
    pub(super) generation: u64,
    /// The interface.
    pub(super) ifindex: u32,
    /// Tells it from others that have or had the index.
    pub(super) life: u64,
    /// The hook.
    pub(super) hook: Hook,
}

/// One job.
pub(super) enum Job {
    /// Something at one hook.
    At {
        /// Where.
        place: At,
        /// What.
        verb: Verb,
    },
    /// The kernel removed an interface: forget what was there.
    Forget(u32),
    /// The programs of this run.
    Programs(Box<Programs>),
}

/// What came of a job.
pub(super) enum Done {
    /// At one hook.
    At {
        /// Where.
        place: At,
        /// What was done.
        verb: Verb,
        /// What was seen.
        seen: Seen,
    },
    /// An interface is forgotten.
    Forgotten,
}

/// The loop's end.
pub(super) struct Hooks {
    jobs: Sender<Job>,
    pub(super) done: UnboundedReceiver<Done>,
}

impl Hooks {
    /// Starts the thread.
    pub(super) fn start(attacher: Attacher) -> Result<Self, AgentError> {
        let (jobs, inbox) = channel();
        let (outbox, done) = unbounded_channel();
        thread::Builder::new()
            .name("hooks".into())
            .spawn(move || Worker::new(attacher, outbox).run(&inbox))
            .map_err(AgentError::Thread)?;
        Ok(Self { jobs, done })
    }

    /// Gives a job; when the thread has ended, `done` ends too.
    pub(super) fn give(&self, job: Job) {
        drop(self.jobs.send(job));
    }
}

struct Worker {
    attacher: Attacher,
    held: HeldLinks,
    /// `None` until they are loaded; nothing is attached before.
    programs: Option<Programs>,
    done: UnboundedSender<Done>,
}

impl Worker {
    fn new(attacher: Attacher, done: UnboundedSender<Done>) -> Self {
        Self {
            attacher,
            held: HeldLinks::new(),
            programs: None,
            done,
        }
    }

    fn run(mut self, inbox: &Receiver<Job>) {
        while let Ok(job) = inbox.recv() {
            match job {
                Job::At { place, verb } => self.at(place, verb),
                Job::Forget(ifindex) => {
                    for hook in Hook::ALL {
                        self.held.release(ifindex, hook);
                    }
                    if let Err(error) = self.attacher.forget(ifindex) {
                        tracing::warn!("forgetting interface {ifindex}: {}", causes(&error));
                    }
                    self.say(Done::Forgotten);
                }
                Job::Programs(programs) => self.programs = Some(*programs),
            }
        }
    }

    fn at(&mut self, place: At, verb: Verb) {
        match self.execute(place, verb) {
            Ok(seen) => self.answer(place, verb, seen),
            Err(error) => self.answer(place, verb, Seen::Failed(cause(&error))),
        }
    }

    fn execute(&mut self, place: At, verb: Verb) -> Result<Seen, AttachError> {
        let At { ifindex, hook, .. } = place;
        let Self {
            attacher,
            held,
            programs,
            ..
        } = self;
        let Some(programs) = programs else {
            return Ok(Seen::Failed(Cause {
                error: "the programs are not loaded yet".into(),
                ..Cause::default()
            }));
        };
        match verb {
            Verb::Detach => {
                held.release(ifindex, hook);
                attacher.detach(ifindex, hook)?;
                return Ok(Seen::Missing);
            }
            Verb::Bridge => return bridge(attacher, programs, ifindex, hook),
            Verb::Attach => attacher.attach(programs, ifindex, hook)?,
            Verb::Move => attacher.move_first(programs, ifindex, hook)?,
            Verb::Look => match held.pin_again(attacher, ifindex, hook) {
                Ok(false) => {}
                Ok(true) => tracing::error!(
                    program = hook.program(),
                    "somebody removed the pin of its link on interface {ifindex}: pinned again"
                ),
                Err(error) => tracing::warn!("pinning a link again: {error}"),
            },
        }
        if verb != Verb::Look {
            held.hold(attacher, ifindex, hook);
        }
        Ok(match attacher.place(programs, ifindex, hook)? {
            Place::First { prog_id } => Seen::Front {
                prog_id,
                bridged: false,
            },
            Place::Behind { others, fixed } => Seen::Behind {
                names: others,
                fixed,
            },
            Place::Missing if verb == Verb::Look => Seen::Missing,
            Place::Missing => Seen::Failed(Cause {
                error: format!("{} was taken off again at once", hook.program()),
                ..Cause::default()
            }),
        })
    }

    fn answer(&self, place: At, verb: Verb, seen: Seen) {
        self.say(Done::At { place, verb, seen });
    }

    fn say(&self, done: Done) {
        // The loop may have ended: then this thread ends too.
        drop(self.done.send(done));
    }
}

/// Whatever keeps a filter from standing there, the link is still to come.
fn bridge(
    attacher: &Attacher,
    programs: &mut Programs,
    ifindex: u32,
    hook: Hook,
) -> Result<Seen, AttachError> {
    match attacher.bridge(programs, ifindex, hook) {
        Ok(Some(prog_id)) => Ok(Seen::Front {
            prog_id,
            bridged: true,
        }),
        Ok(None) => Ok(Seen::NoBridge),
        Err(error @ AttachError::Gone { .. }) => Err(error),
        Err(error) => {
            tracing::debug!("no filter until the link stands: {}", causes(&error));
            Ok(Seen::NoBridge)
        }
    }
}

fn cause(error: &AttachError) -> Cause {
    Cause {
        error: causes(error),
        remedy: error.remedy(),
        gone: matches!(error, AttachError::Gone { .. }),
    }
}
