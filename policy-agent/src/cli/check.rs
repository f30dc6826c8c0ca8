//! `policy-agent check`: whether this machine can run the agent.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use aya::util::KernelVersion;

use crate::{
    capabilities::Effective,
    datapath::{self, Hook, OtherAgents, OtherPins, chain},
    node,
    text::Printable,
};

/// Tells whether this machine can enforce, line by line, with the remedy
///
/// Changes nothing. Exits with 1 when something is missing without which the agent cannot run.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// Where network namespaces have names
    #[arg(long, value_name = "DIR", default_value = "/run/netns")]
    netns_dir: std::path::PathBuf,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Ok(String),
    /// The agent runs, with less.
    Warn(String),
    /// The agent cannot run.
    Fail(String),
}

pub(super) fn run(arguments: &CheckArgs) -> anyhow::Result<ExitCode> {
    let findings = [
        object(),
        kernel(KernelVersion::current().ok()),
        attachment(),
        btf(),
        jit(&read("/proc/sys/net/core/bpf_jit_enable")),
        bpffs(),
        capabilities(Effective::own()),
        memlock(),
        netns_dir(&arguments.netns_dir),
        interfaces(),
        other_programs(),
        other_agents(),
    ];
    let mut out = io::stdout().lock();
    for finding in &findings {
        match finding {
            Finding::Ok(text) => writeln!(out, "ok    {text}")?,
            Finding::Warn(text) => writeln!(out, "warn  {text}")?,
            Finding::Fail(text) => writeln!(out, "FAIL  {text}")?,
        }
    }
    let failed = findings
        .iter()
        .any(|finding| matches!(finding, Finding::Fail(_)));
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn object() -> Finding {
    match datapath::LoadOptions::embedded() {
        Ok(_) => Finding::Ok("eBPF object: embedded".into()),
        Err(error) => Finding::Fail(format!("eBPF object: {error}")),
    }
}

fn kernel(version: Option<KernelVersion>) -> Finding {
    let release = read("/proc/sys/kernel/osrelease");
    let release = release.trim();
    match version {
        Some(version) if version >= KernelVersion::new(5, 10, 0) => {
            Finding::Ok(format!("kernel: {release}"))
        }
        Some(_) => Finding::Fail(format!(
            "kernel: {release} is too old: Linux 5.10 or later is needed"
        )),
        None => Finding::Warn("kernel: its version cannot be read".into()),
    }
}

fn attachment() -> Finding {
    if datapath::has_tcx() {
        Finding::Ok("attachment: TCX".into())
    } else {
        Finding::Warn(
            "attachment: no TCX before Linux 6.6: clsact filters, which cost more per packet"
                .into(),
        )
    }
}

fn btf() -> Finding {
    let path = "/sys/kernel/btf/vmlinux";
    if Path::new(path).exists() {
        Finding::Ok("BTF: present".into())
    } else {
        Finding::Fail(format!(
            "BTF: {path} is missing: use a kernel built with CONFIG_DEBUG_INFO_BTF"
        ))
    }
}

fn jit(text: &str) -> Finding {
    match text.trim() {
        "1" | "2" => Finding::Ok("JIT: on".into()),
        // Only the first network namespace has the switch.
        "" => Finding::Warn(
            "JIT: /proc/sys/net/core/bpf_jit_enable cannot be read in this network namespace"
                .into(),
        ),
        _ => Finding::Warn(
            "JIT: off, programs are interpreted: sysctl net.core.bpf_jit_enable=1".into(),
        ),
    }
}

fn bpffs() -> Finding {
    let path = Path::new("/sys/fs/bpf");
    match datapath::is_bpffs(path) {
        Ok(true) => Finding::Ok("BPF file system: mounted on /sys/fs/bpf".into()),
        Ok(false) => Finding::Warn(
            "BPF file system: not mounted; `run` mounts it (mount -t bpf bpf /sys/fs/bpf)".into(),
        ),
        Err(error) => Finding::Fail(format!(
            "BPF file system: {error}: the kernel needs CONFIG_BPF_SYSCALL and /sys"
        )),
    }
}

/// Names and bits (linux/capability.h) of what the agent needs.
const NEEDED: [(&str, u32); 4] = [
    ("CAP_NET_BROADCAST", 11),
    ("CAP_NET_ADMIN", Effective::NET_ADMIN),
    ("CAP_PERFMON", 38),
    ("CAP_BPF", 39),
];

fn capabilities(effective: Option<Effective>) -> Finding {
    let Some(effective) = effective else {
        return Finding::Warn("capabilities: /proc/self/status cannot be read".into());
    };
    let has = |capability| effective.has(capability);
    let missing: Vec<_> = NEEDED
        .iter()
        // Before Linux 5.8, and still: the old capability includes the two new ones.
        .filter(|(_, bit)| !(has(*bit) || *bit >= 38 && has(Effective::SYS_ADMIN)))
        .map(|(name, _)| *name)
        .collect();
    if !missing.is_empty() {
        return Finding::Fail(format!(
            "capabilities: {} missing: run as root (sudo)",
            missing.join(", ")
        ));
    }
    if has(Effective::SYS_ADMIN) {
        Finding::Ok("capabilities: all".into())
    } else {
        Finding::Warn(
            "capabilities: without CAP_SYS_ADMIN programs of others cannot be named, nor the BPF file system mounted"
                .into(),
        )
    }
}

fn memlock() -> Finding {
    // Since 5.11 maps count against the memory of the control group instead.
    if KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(5, 11, 0)) {
        return Finding::Ok("locked memory: not limited on this kernel".into());
    }
    match nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_MEMLOCK) {
        Ok((_, hard)) if hard == libc::RLIM_INFINITY => {
            Finding::Ok("locked memory: may be raised without limit".into())
        }
        _ => Finding::Warn(
            "locked memory: limited; `run` raises it as root (else: ulimit -l unlimited)".into(),
        ),
    }
}

fn netns_dir(path: &Path) -> Finding {
    if path.is_dir() {
        Finding::Ok(format!("network namespaces: named in {}", path.display()))
    } else {
        Finding::Warn(format!(
            "network namespaces: {} does not exist yet; names of namespaces are not shown",
            path.display()
        ))
    }
}

/// Interfaces into other network namespaces at which programs would not see all traffic.
fn interfaces() -> Finding {
    match node::unenforceable() {
        Ok(found) if found.is_empty() => {
            Finding::Ok("interfaces: all that lead into network namespaces can be enforced".into())
        }
        Ok(found) => {
            let found: Vec<_> = found
                .iter()
                .map(|(name, kind)| format!("{} ({kind})", Printable(name)))
                .collect();
            Finding::Warn(format!(
                "interfaces: these lead into network namespaces and cannot be enforced: {}: have the container network plugin make veth pairs",
                found.join(", ")
            ))
        }
        Err(error) => Finding::Warn(format!("interfaces: {error}")),
    }
}

/// Programs of others on interfaces: ours go first, and are put back there.
fn other_programs() -> Finding {
    let Ok(interfaces) = nix::net::if_::if_nameindex() else {
        return Finding::Warn("other TC programs: interfaces cannot be listed".into());
    };
    let mut found = Vec::new();
    for interface in &interfaces {
        let name = interface.name().to_string_lossy();
        for hook in [Hook::FromPod, Hook::ToPod] {
            match chain::chain(interface.index(), hook.direction()) {
                Ok(chain) => found.extend(
                    chain
                        .entries
                        .iter()
                        .filter(|entry| Hook::ALL.iter().all(|ours| ours.program() != entry.name))
                        .map(|entry| format!("{} on {name}", entry.name)),
                ),
                Err(error) => {
                    return Finding::Warn(format!("other TC programs: {name}: {error}"));
                }
            }
        }
    }
    if found.is_empty() {
        Finding::Ok("other TC programs: none".into())
    } else {
        Finding::Warn(format!(
            "other TC programs: {}: ours run before them; traffic that they redirect still passes ours first",
            found.join(", ")
        ))
    }
}

/// Pin directories, and programs of agents on interfaces here.
fn other_agents() -> Finding {
    match datapath::other_agents(None) {
        Ok(others) => agents(&others),
        Err(error) => Finding::Warn(format!("agents: {error}")),
    }
}

/// One that runs and has everything that an agent has here is as it should be.
fn agents(others: &OtherAgents) -> Finding {
    let one_runs = match others.pin_paths.as_slice() {
        [] if others.programs.is_empty() => {
            return Finding::Ok("agents: none runs or left anything".into());
        }
        [
            OtherPins {
                path,
                process: Some(process),
            },
        ] => others
            .programs
            .iter()
            .all(|program| program.pin_path.as_ref() == Some(path))
            .then(|| format!("agents: one runs (process {process}), pins at {path}")),
        _ => None,
    };
    match one_runs {
        Some(line) => Finding::Ok(line),
        None => Finding::Warn(format!(
            "agents: one runs, or left something, which its own pin path's `run` takes over: {}",
            super::others::lines(others).join("; ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::OtherProgram;

    #[test]
    fn the_old_capability_includes_the_new_ones() {
        let status = |bits: &[u32]| {
            let effective = bits.iter().fold(0u64, |all, bit| all | 1 << bit);
            capabilities(Effective::parse(&format!(
                "Name:\tx\nCapEff:\t{effective:016x}\n"
            )))
        };
        assert!(matches!(status(&[11, 12, 21]), Finding::Ok(_)));
        assert!(matches!(status(&[11, 12, 38, 39]), Finding::Warn(_)));
        let Finding::Fail(text) = status(&[12, 39]) else {
            panic!("two are missing");
        };
        assert!(text.contains("CAP_NET_BROADCAST, CAP_PERFMON missing"));
    }

    #[test]
    fn an_interpreter_is_no_reason_to_refuse() {
        assert!(matches!(jit("0\n"), Finding::Warn(_)));
        assert!(matches!(jit("1\n"), Finding::Ok(_)));
    }

    #[test]
    fn an_agent_that_runs_alone_is_one_line_and_what_is_nobodys_is_listed() {
        let pins = |process: Option<&str>| OtherPins {
            path: "/sys/fs/bpf/policy-agent".into(),
            process: process.map(Into::into),
        };
        let program = |pin_path: Option<&str>| OtherProgram {
            interface: "veth1".into(),
            program: "to_pod".into(),
            prog_id: 7,
            pin_path: pin_path.map(Into::into),
        };
        let own = program(Some("/sys/fs/bpf/policy-agent"));
        let mut others = OtherAgents {
            pin_paths: vec![pins(Some("9"))],
            programs: vec![own.clone(), own],
        };
        let Finding::Ok(line) = agents(&others) else {
            panic!("nothing is wrong");
        };
        assert!(line.contains("process 9") && !line.contains("to_pod"));
        others.programs.push(program(None));
        let Finding::Warn(lines) = agents(&others) else {
            panic!("one is nobody's");
        };
        assert!(lines.contains("of no pin directory"), "{lines}");
        others.programs.clear();
        others.pin_paths = vec![pins(None)];
        assert!(matches!(agents(&others), Finding::Warn(_)));
        others.pin_paths = vec![pins(Some("9")), pins(Some("10"))];
        assert!(matches!(agents(&others), Finding::Warn(_)));
    }
}
