//! `policy-agent bundle`: what somebody needs who is to find out what is wrong, in one file.
//!
//! Invariant: nothing is in it that the agent knows of credentials; addresses are only when they are asked for.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use aya::programs::tc::TcAttachType;
use serde::Serialize;

use super::place::Place;
use crate::{
    agent::{self, Snapshot},
    control::{self, Flows, Observe, Request, Sight},
    datapath::{self, PinDir},
    telemetry::tables::{FlowShown, PolicyShown},
};

/// Writes status, policies, flows, the last drops and log lines, maps, programs and kernel into one archive
///
/// For whoever is to find out what is wrong. Addresses are replaced by numbers, the same one for the same
/// address, unless --addresses is given; names of pods and policies are in it. Without an agent it holds what the kernel
/// says. The file must not exist; it is this user's alone.
#[derive(Debug, clap::Args)]
pub(super) struct BundleArgs {
    /// The archive to be written, a tar file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Leave addresses as they are
    #[arg(long)]
    addresses: bool,
    #[command(flatten)]
    place: Place,
}

/// Drops that are asked for: all that the agent remembers.
const DROPS: usize = 4_096;

pub(super) fn run(arguments: &BundleArgs) -> anyhow::Result<ExitCode> {
    let pins = arguments.place.pins();
    let parts = parts(&pins);
    let mut open = OpenOptions::new();
    let file = open.write(true).create_new(true).mode(0o600);
    let file = file.open(&arguments.file);
    let file = file.with_context(|| arguments.file.display().to_string())?;
    let mut mask = (!arguments.addresses).then(Mask::default);
    write(file, parts, |text| match &mut mask {
        Some(mask) => mask.apply(text),
        None => text.to_owned(),
    })?;
    writeln!(io::stdout(), "{}", arguments.file.display())?;
    Ok(ExitCode::SUCCESS)
}

/// A part's name and its text.
type Part = (&'static str, String);

fn write(file: File, parts: Vec<Part>, mut masked: impl FnMut(&str) -> String) -> io::Result<()> {
    let mut archive = tar::Builder::new(io::BufWriter::new(file));
    for (name, text) in parts {
        let text = masked(&text);
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, format!("policy-agent/{name}"), text.as_bytes())?;
    }
    archive.into_inner()?.flush()
}

/// Everything that can be had; what cannot says why.
fn parts(pins: &PinDir) -> Vec<Part> {
    let socket = pins.socket();
    let snapshot = agent::query(pins);
    let endpoints = snapshot.as_ref().ok().and_then(Option::as_ref);
    let endpoints = endpoints.map_or(&[][..], |snapshot| &snapshot.endpoints);
    let programs = endpoints.iter().flat_map(|endpoint| {
        let hooks = [
            ("ingress", TcAttachType::Ingress),
            ("egress", TcAttachType::Egress),
        ];
        hooks.map(|(name, hook)| {
            let chain = datapath::chain::chain(endpoint.ifindex, hook);
            format!("{} TC {name}: {chain:?}\n", endpoint.interface)
        })
    });
    let programs = programs.collect();
    let all = |request| -> Result<Vec<Sight>, control::ControlError> {
        let sights = control::follow::<Sight>(&socket, &request)?;
        sights.into_iter().flatten().collect()
    };
    let drops = all(Request::Observe(Observe {
        last: DROPS,
        ..Observe::default()
    }));
    let log = control::ask::<Vec<String>>(&socket, &Request::Log);
    let log = match log {
        Ok(lines) => lines.unwrap_or_default().concat(),
        Err(error) => format!("{error}\n"),
    };
    vec![
        ("version", format!("{}\n", env!("CARGO_PKG_VERSION"))),
        (
            "status.json",
            json(snapshot.map(Option::<Snapshot>::unwrap_or_default)),
        ),
        (
            "policies.json",
            json(listed::<PolicyShown>(pins, &Request::Policies)),
        ),
        (
            "flows.json",
            json(listed::<FlowShown>(pins, &Request::Flows(Flows::default()))),
        ),
        ("drops.json", json(drops)),
        ("log", log),
        ("tables.json", json(datapath::fill(pins))),
        ("endpoints", endpoints_of(pins)),
        ("node-state", format!("{:#?}\n", pins.node_state())),
        ("programs", programs),
        ("others.json", json(datapath::other_agents(Some(pins)))),
        ("kernel", kernel()),
    ]
}

fn listed<T: serde::de::DeserializeOwned>(
    pins: &PinDir,
    request: &Request,
) -> Result<Vec<T>, control::ControlError> {
    let answers = control::follow::<Vec<T>>(&pins.socket(), request)?;
    let all: Result<Vec<Vec<T>>, _> = answers.into_iter().flatten().collect();
    Ok(all?.into_iter().flatten().collect())
}

fn json<T: Serialize, E: Debug>(value: Result<T, E>) -> String {
    let text = value
        .map_err(|error| format!("{error:?}"))
        .and_then(|value| serde_json::to_string_pretty(&value).map_err(|error| error.to_string()));
    text.unwrap_or_else(|error| error) + "\n"
}

/// What stands in ENDPOINTS: addresses as people write them, so that they can be masked.
fn endpoints_of(pins: &PinDir) -> String {
    let endpoints = match pins.endpoints() {
        Ok(endpoints) => endpoints,
        Err(error) => return format!("{error:?}\n"),
    };
    let lines = endpoints.iter().map(|endpoint| {
        let (v4, v6) = (Ipv4Addr::from(endpoint.v4.0), Ipv6Addr::from(endpoint.v6.0));
        format!(
            "{} interface {} bridge {} flags {:#x} epoch {} ingress {:?} egress {:?} {v4} {v6}\n",
            endpoint.id.0,
            endpoint.ifindex,
            endpoint.bridge,
            endpoint.flags,
            endpoint.epoch,
            endpoint.ingress,
            endpoint.egress,
        )
    });
    lines.collect()
}

/// What the kernel says of itself.
fn kernel() -> String {
    const FACTS: [&str; 6] = [
        "/proc/version",
        "/proc/cmdline",
        "/proc/uptime",
        "/proc/meminfo",
        "/proc/sys/net/core/bpf_jit_enable",
        "/etc/os-release",
    ];
    let facts = FACTS.iter().map(|path| {
        let text = std::fs::read_to_string(path);
        let text = text.unwrap_or_else(|error| format!("{error}\n"));
        format!("== {path}\n{text}")
    });
    facts.collect()
}

/// Puts numbers in the place of addresses.
#[derive(Debug, Default)]
struct Mask(BTreeMap<IpAddr, usize>);

impl Mask {
    fn apply(&mut self, text: &str) -> String {
        let is_part = |c: char| c.is_ascii_hexdigit() || c == ':' || c == '.';
        let mut masked = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(is_part) {
            let (before, from) = rest.split_at(start);
            masked.push_str(before);
            let end = from.find(|c| !is_part(c)).unwrap_or(from.len());
            let (word, after) = from.split_at(end);
            self.word(word, &mut masked);
            rest = after;
        }
        masked.push_str(rest);
        masked
    }

    /// A word of digits, dots and colons: an address, one with a port, or something else.
    fn word(&mut self, word: &str, masked: &mut String) {
        let bare = word.trim_end_matches(['.', ':']);
        let with_port = bare
            .rsplit_once(':')
            .filter(|(address, _)| address.contains('.'));
        let (address, tail) = match (bare.parse(), with_port) {
            (Ok(address), _) => (address, &word[bare.len()..]),
            (Err(_), Some((address, _))) => match address.parse() {
                Ok(parsed) => (parsed, &word[address.len()..]),
                Err(_) => return masked.push_str(word),
            },
            (Err(_), None) => return masked.push_str(word),
        };
        let next = self.0.len() + 1;
        let number = *self.0.entry(address).or_insert(next);
        masked.push_str(&format!("address-{number}{tail}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn addresses_are_numbers_and_the_same_one_has_the_same_number() {
        let mut mask = Mask::default();
        for (text, wanted) in [
            ("10.0.0.1 and fd00::1.", "address-1 and address-2."),
            (
                "\"10.0.0.1:80\", [fd00::2]:80",
                "\"address-1:80\", [address-3]:80",
            ),
            ("fd00::1/64 10.0.0.0/24", "address-2/64 address-4/24"),
            (
                "at 20:15:03, 1.2, v0.2.0, 3 dead beef ::",
                "at 20:15:03, 1.2, v0.2.0, 3 dead beef ::",
            ),
        ] {
            assert_eq!(mask.apply(text), wanted);
        }
    }

    #[test]
    fn without_an_agent_the_archive_says_so_and_has_the_kernel() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bundle.tar");
        let pins = PinDir::new("/sys/fs/bpf/nobody").with_run_dir(directory.path());
        write(File::create(&file).unwrap(), parts(&pins), str::to_owned).unwrap();
        let mut archive = tar::Archive::new(File::open(&file).unwrap());
        let mut found = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            found.insert(entry.path().unwrap().display().to_string(), text);
        }
        assert!(found["policy-agent/kernel"].contains("Linux version"));
        assert!(found["policy-agent/status.json"].contains("\"endpoints\": []"));
        assert_eq!(found.len(), 12);
    }
}
