//! The machine on which figures came about.

use std::{fmt, fs};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// What a reader must know to judge a figure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Release of the running kernel.
    pub kernel: String,
    /// Model name of the processor.
    pub cpu: String,
    /// Processors that are online.
    pub cpus: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Whether this is a virtual machine.
    pub virtual_machine: bool,
    /// When measuring began, UTC, `YYYY-MM-DD`.
    pub date: String,
}

impl Machine {
    /// This one, today.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn describe() -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| format!("reading {path}"));
        let cpuinfo = read("/proc/cpuinfo")?;
        let kib = field(&read("/proc/meminfo")?, "MemTotal")
            .and_then(|value| value.split(' ').next()?.parse::<u64>().ok())
            .context("no MemTotal in /proc/meminfo")?;
        Ok(Self {
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            cpu: field(&cpuinfo, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cpus: std::thread::available_parallelism()?.get(),
            memory_mib: kib / 1024,
            virtual_machine: field(&cpuinfo, "flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        })
    }
}

/// The first `name : value` of a file of `/proc`.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kernel,
            cpu,
            cpus,
            memory_mib,
            virtual_machine,
            date,
        } = self;
        let kind = if *virtual_machine {
            ", virtual machine"
        } else {
            ""
        };
        write!(
            formatter,
            "Linux {kernel}, {cpu}, {cpus} processors, {memory_mib} MiB{kind}, {date}"
        )
    }
}
