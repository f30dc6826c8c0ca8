//! A twin of the programs in force: the same code over the same tables of policy and flows, to be run on a
//! packet without an interface.
//!
//! Owns what the twin has for itself: counters, events, what processors remember, scratch memory. The kernel
//! may run a real program in the middle of a test run: memory of a processor must never be both's. Invariant:
//! it writes into no table that it shares ([`quiet`](super::quiet)).

use std::collections::BTreeMap;

use aya::{Ebpf, EbpfLoader, maps::MapInfo, programs::SchedClassifier};
use policy_common::{Config, Direction, FlowCounts, PodLinks, Reason, names};

use super::{
    super::{
        generation::{Counters, LoadError, LoadOptions, TableSizes, fill_calls, hz},
        kernel::{
            abi::{Abi, Slots},
            clock::Clock,
            part::{self, PartError},
            table::TableError,
            test_run::{self, TestOrigin},
        },
        pins::PinDir,
    },
    ProbeError, Seen,
    quiet::without_writes,
    shares::Accounts,
};

/// The tables of the programs in force that the twin reads.
const SHARED: [&str; 19] = [
    names::INTERFACES,
    names::ENDPOINTS,
    names::ADDRESSES_V4,
    names::ADDRESSES_V6,
    names::SPILLED_V4,
    names::SPILLED_V6,
    names::CIDRS_V4,
    names::CIDRS_V6,
    names::LOCALS_V4,
    names::LOCALS_V6,
    names::SERVICES_V4,
    names::SERVICES_V6,
    names::RULES,
    names::SPILLED_RULES,
    names::PORT_SETS,
    names::PORTS,
    names::FLOWS_V4,
    names::FLOWS_V6,
    names::TUNNEL_PORTS,
];

/// Its own, which it hardly uses: as small as the kernel makes them.
const SMALL: [(&str, u32); 9] = [
    (names::RECENT, 1),
    (names::RECENT_BLOCKS, 1),
    (names::FRAGMENTS, 1),
    (names::EVENT_BUDGETS, 1),
    (names::EVENTS, 4_096),
    // What it remembers of one question must not answer the next.
    ("KNOWN_FLOWS_V4", 1),
    ("KNOWN_FLOWS_V6", 1),
    ("KNOWN_ANSWERS_V4", 1),
    ("KNOWN_ANSWERS_V6", 1),
];

const PROGRAMS: [&str; 4] = [
    names::FROM_POD,
    names::TO_POD,
    names::TO_POD_OWED,
    names::JIFFIES,
];

/// The loaded twin.
pub(super) struct Twin {
    ebpf: Ebpf,
    /// What the programs in force are told, but for what the twin's own tables need.
    pub(super) config: Config,
    counters: Counters,
    counted: BTreeMap<(bool, u8), u64>,
    counts: Slots<FlowCounts>,
    shared: Slots<u64>,
    /// A copy, of a map that the loader writes zeros into.
    links: Slots<PodLinks>,
    clock: Clock,
    /// Of the tables that it shares, as the kernel numbers them.
    ids: Vec<u32>,
    runs: u32,
}

impl Twin {
    /// Loads it beside the generation whose pins are in place.
    pub(super) fn load(
        pins: &PinDir,
        config: Config,
        sizes: TableSizes,
    ) -> Result<Self, ProbeError> {
        let options = LoadOptions {
            config,
            sizes,
            ..LoadOptions::embedded()?
        };
        let config = options.config(hz(&options)?);
        let (object, _) = without_writes(options.object)?;
        let told = Abi(Config {
            test_seam: 1,
            debug: 0,
            has_previous_flows: 0,
            netns_cookie: 0,
            blocks: 1,
            ..config
        });
        let ids = ids(pins)?;
        let mut loader = EbpfLoader::new();
        loader.override_global(Config::SYMBOL, &told, true);
        for (name, size) in sizes.entries().into_iter().chain(SMALL) {
            loader.map_max_entries(name, size);
        }
        for name in SHARED {
            loader.map_pin_path(name, pins.path().join(name));
        }
        let mut ebpf = loader.load(&object).map_err(LoadError::Object)?;
        for name in PROGRAMS {
            let program = part::classifier(&mut ebpf, name)?;
            program.load().map_err(failed(name))?;
        }
        fill_calls(&mut ebpf)?;
        let clock = part::classifier(&mut ebpf, names::JIFFIES)?;
        let clock = clock.fd().map_err(failed(names::JIFFIES))?;
        let clock = std::os::fd::AsFd::as_fd(clock).try_clone_to_owned();
        let clock = clock.map_err(LoadError::Clock)?;
        Ok(Self {
            config,
            counters: Counters::of(&ebpf)?,
            counted: BTreeMap::new(),
            counts: part::open(&ebpf, names::FLOW_COUNTS)?,
            shared: part::open(&ebpf, names::FLOW_SHARED)?,
            links: part::open(&ebpf, PodLinks::MAP)?,
            clock: Clock::new(clock),
            ebpf,
            ids,
            runs: 0,
        })
    }

    /// Whether it reads the tables whose pins are in place.
    pub(super) fn is_of(&self, pins: &PinDir) -> bool {
        ids(pins).is_ok_and(|ids| ids == self.ids)
    }

    /// Jiffies.
    pub(super) fn now(&self) -> Result<u64, ProbeError> {
        Ok(self.clock.now().map_err(LoadError::Clock)?)
    }

    /// What it is to find counted, which it counts on in a copy, and what the host's links are.
    pub(super) fn account(
        &mut self,
        accounts: Accounts,
        links: PodLinks,
    ) -> Result<(), ProbeError> {
        let Accounts {
            endpoint,
            counts,
            shared,
        } = accounts;
        self.runs = self.runs.wrapping_add(1);
        // What it was lent by the copy before is void.
        let counts = FlowCounts {
            era: self.runs,
            ..counts
        };
        self.counts
            .set(endpoint.0.into(), Abi(counts), 0)
            .map_err(TableError::of(names::FLOW_COUNTS))
            .map_err(LoadError::Table)?;
        self.shared
            .set(0, Abi(shared), 0)
            .map_err(TableError::of(names::FLOW_SHARED))
            .map_err(LoadError::Table)?;
        self.links
            .set(0, Abi(links), 0)
            .map_err(TableError::of(names::POD_LINKS))
            .map_err(LoadError::Table)?;
        Ok(())
    }

    /// Runs the program of a direction: what it says, and what it wrote into the packet's metadata.
    pub(super) fn run(
        &mut self,
        direction: Direction,
        frame: &[u8],
        origin: TestOrigin,
    ) -> Result<(Seen, u16), ProbeError> {
        let name = match direction {
            Direction::Egress => names::FROM_POD,
            Direction::Ingress => names::TO_POD,
        };
        // What an earlier run counted and nobody read.
        self.news()?;
        let program: &SchedClassifier = part::classifier(&mut self.ebpf, name)?;
        let outcome = test_run::run(program, frame, origin).map_err(failed(name))?;
        let reason = self.news()?.ok_or(ProbeError::NoReason)?;
        let seen = Seen {
            passes: outcome.passed,
            reason,
        };
        Ok((seen, outcome.stamp))
    }

    /// The reason that was counted since the last call.
    fn news(&mut self) -> Result<Option<Reason>, ProbeError> {
        let mut news = None;
        for (direction, reason, counter) in self.counters.all()? {
            let place = (direction == Direction::Egress, reason as u8);
            let before = self.counted.insert(place, counter.packets);
            if before.unwrap_or_default() != counter.packets {
                news = Some(reason);
            }
        }
        Ok(news)
    }
}

fn failed(name: &'static str) -> impl Fn(aya::programs::ProgramError) -> PartError {
    move |source| PartError::Program { name, source }
}

/// The tables whose pins are in place.
fn ids(pins: &PinDir) -> Result<Vec<u32>, ProbeError> {
    let id = |name: &&'static str| {
        let info = MapInfo::from_pin(pins.path().join(name));
        let id = info.map(|info| info.id());
        id.map_err(|source| ProbeError::Map { name, source })
    };
    SHARED.iter().map(id).collect()
}
