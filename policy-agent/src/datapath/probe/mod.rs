//! Asks the tables in force about one packet, in two ways: by the decisions of `policy-ebpf` over the maps as
//! they are pinned, and by the loaded program over the same maps.
//!
//! Owns the twin of the programs that is run for it. Must not know pods or policies. Invariants: asking makes
//! no flow, counts nothing and tells nobody; what the kernel does not let be read is an error, never a verdict.

mod frame;
mod maps;
mod quiet;
mod shares;
mod ticks;
mod twin;

pub use frame::{Echo, Probed, Transport};

use policy_common::{Config, Direction, Endpoint, Reason};
use policy_ebpf::{Decision, Origin, Stamp, from_pod, to_pod};

use super::{generation::TableSizes, kernel::test_run::TestOrigin, pins::PinDir};
use maps::Maps;
use ticks::Ticks;
use twin::Twin;

/// The tables cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// A table cannot be read.
    #[error("reading the table {name}")]
    Map {
        /// Its name.
        name: &'static str,
        /// The reason.
        #[source]
        source: aya::maps::MapError,
    },
    /// The twin of the programs cannot be loaded.
    #[error("loading a twin of the programs")]
    Load(#[from] super::LoadError),
    /// A part of the twin is not as expected, or the kernel does not run it.
    #[error(transparent)]
    Part(#[from] super::PartError),
    /// The object is none whose calls can be taken out.
    #[error("the object is not an ELF file of 64 bits")]
    NoElf,
    /// The program left no reason.
    #[error("the program ran and counted nothing")]
    NoReason,
    /// There is no such endpoint.
    #[error("no endpoint has interface {0}")]
    NoEndpoint(u32),
    /// A reason that this version does not know.
    #[error("a program of another version gave reason {0}")]
    Reason(u8),
}

/// What is said of a packet at one hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whether it passes.
    pub passes: bool,
    /// Why.
    pub reason: Reason,
}

/// What both ways say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BothWays {
    /// The maps, read by the decisions of the library.
    pub maps: Seen,
    /// The program.
    pub program: Seen,
    /// What the program wrote into the packet for the hook behind it.
    pub stamp: u16,
}

impl BothWays {
    /// Whether egress is still to be judged, where the packet's address is translated.
    pub fn is_owed(&self) -> bool {
        Stamp(self.stamp).is_owed()
    }
}

/// Where a packet is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Where the pod sends it.
    FromPod {
        /// The pod's interface on the host.
        ifindex: u32,
    },
    /// Where it reaches the pod.
    ToPod {
        /// The pod's interface on the host.
        ifindex: u32,
        /// Where it comes from.
        came: Came,
    },
}

/// Where a packet comes from that reaches a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// A socket of this host.
    Host,
    /// Another machine, or nobody's interface.
    Elsewhere,
    /// A pod of this node.
    Pod {
        /// The sender's interface on the host.
        ifindex: u32,
        /// What the program at that wrote into the packet.
        stamp: u16,
    },
}

/// Asks the tables in force.
#[derive(Default)]
pub struct Probe {
    twin: Option<Twin>,
    ticks: Option<Ticks>,
}

impl Probe {
    /// The programs' time: jiffies, and how many make a second.
    ///
    /// # Errors
    /// The kernel or the loader refuses the program that tells it.
    pub fn clock(&mut self) -> Result<(u64, u32), ProbeError> {
        match &self.ticks {
            Some(ticks) => ticks.now(),
            None => self.ticks.insert(Ticks::load()?).now(),
        }
    }

    /// Loads what asking needs, unless it is there: the kernel verifies the programs once more.
    ///
    /// # Errors
    /// The kernel or the loader refuses it.
    pub fn prepare(
        &mut self,
        pins: &PinDir,
        config: Config,
        sizes: TableSizes,
    ) -> Result<(), ProbeError> {
        if self.twin.as_ref().is_none_or(|twin| !twin.is_of(pins)) {
            self.twin = None;
            self.twin = Some(Twin::load(pins, config, sizes)?);
        }
        Ok(())
    }

    /// What is said of a packet.
    ///
    /// # Errors
    /// The tables cannot be read, or the programs not be run.
    pub fn ask(
        &mut self,
        pins: &PinDir,
        config: Config,
        sizes: TableSizes,
        packet: &Probed,
        at: At,
    ) -> Result<BothWays, ProbeError> {
        self.prepare(pins, config, sizes)?;
        let Some(twin) = &mut self.twin else {
            return Err(ProbeError::NoReason);
        };
        let (ifindex, direction, opener) = match at {
            At::FromPod { ifindex } => (ifindex, Direction::Egress, 0),
            At::ToPod { ifindex, .. } => (ifindex, Direction::Ingress, 1),
        };
        let maps = Maps::open(pins, twin.config, twin.now()?, ifindex)?;
        let endpoint = *maps.here().ok_or(ProbeError::NoEndpoint(ifindex))?;
        let frame = packet.frame(direction, endpoint.mac);
        let test = match at {
            At::FromPod { .. } => TestOrigin {
                ifindex,
                ingress_ifindex: ifindex,
                ..TestOrigin::default()
            },
            At::ToPod { came, .. } => {
                let (ingress_ifindex, stamp) = match came {
                    Came::Host => (0, 0),
                    Came::Elsewhere => (maps.strange(), 0),
                    Came::Pod { ifindex, stamp } => (ifindex, stamp),
                };
                TestOrigin {
                    ifindex,
                    ingress_ifindex,
                    socket: came == Came::Host,
                    foreign_socket: false,
                    stamp,
                }
            }
        };
        let decision = decide(&maps, &frame, &test, direction, &endpoint);
        maps.check()?;
        twin.account(maps.accounts(opener), *maps.links)?;
        let (program, stamp) = twin.run(direction, &frame, test)?;
        Ok(BothWays {
            maps: Seen {
                passes: !decision.drops(),
                reason: reason(decision.reason_number())?,
            },
            program,
            stamp,
        })
    }
}

fn decide(
    maps: &Maps,
    frame: &[u8],
    test: &TestOrigin,
    direction: Direction,
    endpoint: &Endpoint,
) -> Decision {
    let origin = Origin {
        ifindex: test.ifindex,
        ingress_ifindex: test.ingress_ifindex,
        has_socket: test.socket,
        stamp: test.stamp,
        ..Origin::default()
    };
    match direction {
        Direction::Egress => from_pod::decide(maps, frame, &origin, endpoint),
        Direction::Ingress => to_pod::decide(maps, frame, &origin, endpoint),
    }
}

fn reason(number: u8) -> Result<Reason, ProbeError> {
    Reason::from_u8(number).ok_or(ProbeError::Reason(number))
}
