//! The virtual machine. Uses the machine's qemu, else unpacks the distribution's packages under the
//! target directory: its qemu packages may contradict others that are installed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{apt::Apt, progress::Progress};
use crate::command;

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";

/// How often the guest's console is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// A qemu that can run.
pub(super) struct Qemu {
    program: PathBuf,
    /// The directory that it was unpacked in, if it is not installed.
    unpacked: Option<PathBuf>,
}

impl Qemu {
    /// The qemu on PATH or the one in `dir`, which is unpacked there if need be.
    pub(super) fn find_or_unpack(dir: &Path) -> Result<Self> {
        if let Some(program) = command::find(PROGRAM) {
            return Ok(Self {
                program,
                unpacked: None,
            });
        }
        let root = dir.join("root");
        let done = dir.join("done");
        if !done.is_file() {
            eprintln!(
                "missing: {PACKAGE} (boots the kernels of the matrix); unpacking it under {}",
                dir.display()
            );
            ensure!(
                command::find("apt-get").is_some(),
                "only apt-get is known here; install what your distribution calls {PACKAGE}"
            );
            if dir.exists() {
                fs::remove_dir_all(dir).with_context(|| format!("clearing {}", dir.display()))?;
            }
            let apt_dir = dir.join("apt");
            let apt = Apt::of_machine(&apt_dir)?;
            let install = ["install", "--simulate", "--no-install-recommends", PACKAGE];
            let plan = command::read(apt.command("apt-get").args(install))?;
            apt.unpack(&missing_packages(&plan), &root)?;
            fs::remove_dir_all(&apt_dir).context("removing what was unpacked")?;
            fs::write(&done, "").with_context(|| format!("writing {}", done.display()))?;
        }
        Ok(Self {
            program: root.join("usr/bin").join(PROGRAM),
            unpacked: Some(root),
        })
    }

    /// Boots a kernel until it powers off or gets no further; returns what it printed.
    pub(super) fn boot(&self, image: &Path, initramfs: &Path, log: &Path) -> Result<String> {
        let console =
            fs::File::create(log).with_context(|| format!("writing {}", log.display()))?;
        let errors = console.try_clone().context("sharing the console's log")?;
        let mut qemu = Command::new(&self.program);
        if let Some(root) = &self.unpacked {
            let libraries =
                ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|below| root.join(below));
            qemu.env(
                "LD_LIBRARY_PATH",
                env::join_paths(libraries).context("naming qemu's libraries")?,
            );
            for data in ["usr/share/qemu", "usr/share/seabios"] {
                qemu.arg("-L").arg(root.join(data));
            }
        }
        qemu.args(accelerator())
            .args([
                // The verifier of 6.12 wants more than 256 for programs of this size.
                "-m",
                "640",
                "-smp",
                "1",
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
            ])
            .args(["-no-reboot", "-net", "none", "-serial", "stdio"])
            .arg("-kernel")
            .arg(image)
            .arg("-initrd")
            .arg(initramfs)
            // A busy machine may give the guest no time while it counts its timer's first ticks, and
            // it would take the timer for broken.
            .args(["-append", "console=ttyS0 panic=-1 quiet no_timer_check"])
            .stdin(Stdio::null())
            .stdout(console)
            .stderr(errors);
        let guest = qemu
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        let ended = until_over(guest, log)?;
        let text = read(log)?;
        // 0 says nothing about the guest, and neither does an end by force: then the log tells.
        ensure!(
            ended.is_none_or(|status| status.success()),
            "qemu failed: {ended:?}\n{text}"
        );
        Ok(text)
    }
}

/// Waits until the guest ends, or ends it when it gets no further: then there is no status.
fn until_over(mut guest: Child, log: &Path) -> Result<Option<ExitStatus>> {
    let mut progress = Progress::from(Instant::now());
    loop {
        if let Some(status) = guest.try_wait().context("waiting for qemu")? {
            return Ok(Some(status));
        }
        if progress.is_over(&read(log)?, Instant::now()) {
            guest.kill().context("ending qemu")?;
            guest.wait().context("waiting for qemu")?;
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

fn read(log: &Path) -> Result<String> {
    let bytes = fs::read(log).with_context(|| format!("reading {}", log.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// KVM only on the modules that run stock kernels: /dev/kvm alone may be another hypervisor's.
/// Emulation goes without cmpxchg16b, whose helper in qemu 7.2 leaves garbage in EFLAGS.
/// `POLICY_VM_ACCEL` overrides.
fn accelerator() -> Vec<String> {
    let kvm = ["/sys/module/kvm_intel", "/sys/module/kvm_amd"]
        .iter()
        .any(|module| Path::new(module).exists())
        && fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_ok();
    let accelerator =
        env::var("POLICY_VM_ACCEL").unwrap_or_else(|_| if kvm { "kvm" } else { "tcg" }.to_owned());
    let cpu = if accelerator == "tcg" {
        "max,-cx16"
    } else {
        "host"
    };
    ["-accel", &accelerator, "-cpu", cpu]
        .map(str::to_owned)
        .to_vec()
}

/// What a simulated installation would install, as `name=version`: lines `Inst name (version source
/// [arch])`.
fn missing_packages(plan: &str) -> Vec<String> {
    plan.lines()
        .filter_map(|line| line.strip_prefix("Inst "))
        .filter_map(|rest| {
            let name = rest.split(' ').next()?;
            let version = rest.split_once('(')?.1.split(' ').next()?;
            Some(format!("{name}={version}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::missing_packages;

    #[test]
    fn the_plan_of_an_installation_names_packages_and_versions() {
        let plan = "Remv b [1]\nInst a (1:7.2-1 Debian:12/stable [amd64])\nInst b [1] (2 Debian:12/stable [all])\nConf a (1)";
        assert_eq!(missing_packages(plan), ["a=1:7.2-1", "b=2"]);
    }
}
