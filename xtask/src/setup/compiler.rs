//! The compiler for the BPF target. That target has no prebuilt `core`, so the compiler's own
//! library source must be there. Two ways: a rustup nightly, or the distribution's packages.
//!
//! Invariant: what is returned has its library source and the LLVM release that bpf-linker is built
//! with.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::packages;
use crate::{command, workspace::Workspace};

/// The nightly that is installed where none will do; its LLVM is 22, as bpf-linker's.
const NIGHTLY: &str = "nightly-2026-05-20";
/// bpf-linker reads the bitcode of its own LLVM release and older ones.
const LLVM: &str = "22";
/// The distribution's compiler, its library source, and its linter.
const DISTRIBUTION: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
const DISTRIBUTION_CLIPPY: &str = "rust-web-clippy";

/// How to get a compiler.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Way {
    /// The last choice, else rustup where it can be used, else the distribution
    Auto,
    /// A rustup nightly with rust-src
    Rustup,
    /// The distribution's packages
    Distribution,
}

/// A compiler that can build `core` for the BPF target.
pub(crate) struct Compiler {
    /// The rustup toolchain; none for the distribution's compiler.
    toolchain: Option<String>,
    /// The directory of cargo, rustc and cargo-clippy.
    bin: PathBuf,
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bin = self.bin.display();
        match &self.toolchain {
            Some(toolchain) => write!(f, "rustup's {toolchain} ({bin})"),
            None => write!(f, "the distribution's ({bin})"),
        }
    }
}

impl Compiler {
    /// A command of this toolchain (`cargo`, `cargo-clippy`) that uses this compiler and nothing of
    /// the host's settings.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command::without_host_settings(&mut command)
            .env("CARGO", self.bin.join("cargo"))
            .env("RUSTC", self.bin.join("rustc"));
        if self.toolchain.is_none() {
            // A stable compiler builds `core` from source only when told to behave as a nightly.
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }

    /// The compiler in `sysroot`, if it has all that building `core` takes.
    fn in_sysroot(toolchain: Option<&str>, sysroot: &Path) -> Option<Self> {
        let bin = sysroot.join("bin");
        let compiler = Self {
            toolchain: toolchain.map(str::to_owned),
            bin,
        };
        let version = command::read(compiler.command("rustc").arg("-vV")).ok()?;
        let release = version
            .lines()
            .find_map(|line| line.strip_prefix("LLVM version: "))?;
        (release.split('.').next() == Some(LLVM) && compiler.has_library_source())
            .then_some(compiler)
    }

    fn has_library_source(&self) -> bool {
        self.bin.join("cargo").is_file()
            && self
                .bin
                .join("../lib/rustlib/src/rust/library/core")
                .is_dir()
    }

    fn in_rustup(toolchain: &str) -> Option<Self> {
        let sysroot =
            command::read(rustup().args(["run", toolchain, "rustc", "--print", "sysroot"])).ok()?;
        Self::in_sysroot(Some(toolchain), Path::new(sysroot.trim_end()))
    }

    fn in_distribution() -> Option<Self> {
        let files =
            command::read(Command::new("dpkg").args(["-L", "rustc-web", "cargo-web"])).ok()?;
        let rustc = files.lines().find(|path| path.ends_with("/bin/rustc"))?;
        Self::in_sysroot(None, Path::new(rustc).parent()?.parent()?)
    }
}

/// Finds or installs a compiler, and remembers the choice under the target directory.
pub(super) fn ensure(workspace: &Workspace, way: Way) -> Result<Compiler> {
    let note = workspace.tools().join("bpf-compiler");
    if way == Way::Auto
        && let Some(compiler) = remembered(&note)
    {
        return Ok(compiler);
    }
    let compiler = match way {
        Way::Rustup => {
            from_rustup()?.context("rustup has no usable nightly and cannot install one")?
        }
        Way::Distribution => from_distribution()?,
        Way::Auto => match from_rustup()? {
            Some(compiler) => compiler,
            None => from_distribution()?,
        },
    };
    eprintln!("chosen to compile for the BPF target: {compiler}");
    fs::create_dir_all(workspace.tools()).context("making the tools directory")?;
    let text = format!(
        "{}\n{}\n",
        compiler.toolchain.as_deref().unwrap_or_default(),
        compiler.bin.display()
    );
    fs::write(&note, text).with_context(|| format!("writing {}", note.display()))?;
    Ok(compiler)
}

/// The last choice, if it is still there.
fn remembered(note: &Path) -> Option<Compiler> {
    let text = fs::read_to_string(note).ok()?;
    let (toolchain, bin) = text.trim_end().split_once('\n')?;
    let toolchain = (!toolchain.is_empty()).then(|| toolchain.to_owned());
    let compiler = Compiler {
        toolchain,
        bin: bin.into(),
    };
    compiler.has_library_source().then_some(compiler)
}

/// A nightly that is there, or one that rustup can complete or install; none if rustup cannot.
fn from_rustup() -> Result<Option<Compiler>> {
    if command::find("rustup").is_none() {
        eprintln!("no rustup here");
        return Ok(None);
    }
    if let Some(compiler) = [NIGHTLY, "nightly"]
        .into_iter()
        .find_map(Compiler::in_rustup)
    {
        return Ok(Some(compiler));
    }
    if !rustup_reaches_its_server() {
        eprintln!("rustup has no nightly with rust-src (LLVM {LLVM}) and cannot reach its server");
        return Ok(None);
    }
    eprintln!(
        "missing: {NIGHTLY} with rust-src (builds `core` for the BPF target); rustup installs it"
    );
    let mut install = rustup();
    install.args([
        "toolchain",
        "install",
        NIGHTLY,
        "--profile",
        "minimal",
        "--no-self-update",
    ]);
    install.args(["--component", "rust-src", "--component", "clippy"]);
    if let Err(error) = command::read(&mut install) {
        // The rest is rustup's list of causes.
        let why = format!("{error:#}");
        eprintln!(
            "rustup cannot install it: {}",
            why.lines()
                .find(|line| line.starts_with("error: "))
                .unwrap_or(&why)
        );
        return Ok(None);
    }
    match Compiler::in_rustup(NIGHTLY) {
        Some(compiler) => Ok(Some(compiler)),
        None => {
            bail!("{NIGHTLY} was installed but has no library source or another LLVM than {LLVM}")
        }
    }
}

/// Asks for updates with a short deadline, so that a network which swallows packets costs seconds,
/// not minutes: 0 is "none", 100 "some"; anything else means no answer. Without any toolchain it
/// asks nobody, and installing tells.
fn rustup_reaches_its_server() -> bool {
    let mut check = Command::new("timeout");
    check
        .args(["10", "rustup", "check", "--no-self-update"])
        .env("RUSTUP_MAX_RETRIES", "0");
    check
        .output()
        .is_ok_and(|output| matches!(output.status.code(), Some(0 | 100)))
}

fn rustup() -> Command {
    let mut rustup = Command::new("rustup");
    rustup
        .env("RUSTUP_AUTO_INSTALL", "0")
        .env_remove("RUSTUP_TOOLCHAIN");
    rustup
}

/// The distribution's compiler, installed if need be.
fn from_distribution() -> Result<Compiler> {
    if let Some(compiler) = Compiler::in_distribution() {
        return Ok(compiler);
    }
    eprintln!(
        "missing: {} (build `core` for the BPF target)",
        DISTRIBUTION.join(" ")
    );
    packages::install(&DISTRIBUTION)?;
    Compiler::in_distribution().with_context(|| {
        format!(
            "{} are installed but are no compiler with LLVM {LLVM} and its library source",
            DISTRIBUTION.join(" ")
        )
    })
}

/// Makes sure that the compiler has its linter.
pub(super) fn ensure_clippy(compiler: &Compiler) -> Result<()> {
    let clippy = compiler.bin.join("cargo-clippy");
    if clippy.is_file() {
        return Ok(());
    }
    eprintln!("missing: clippy for the BPF target (lints the eBPF programs)");
    match &compiler.toolchain {
        Some(toolchain) => {
            command::run(rustup().args(["component", "add", "clippy", "--toolchain", toolchain]))?;
        }
        None => packages::install(&[DISTRIBUTION_CLIPPY])?,
    }
    command::expect_file(&clippy, "installing clippy")
}

/// Makes sure that the host's cargo, which compiled this program, has its formatter and linter.
pub(super) fn ensure_host_lints(workspace: &Workspace) -> Result<()> {
    let has = |subcommand| command::read(workspace.cargo().args([subcommand, "--version"])).is_ok();
    if has("fmt") && has("clippy") {
        return Ok(());
    }
    eprintln!("missing: rustfmt or clippy for the host (CI checks formatting and lints)");
    match env::var_os("RUSTUP_TOOLCHAIN") {
        Some(toolchain) => {
            let mut add = rustup();
            add.args(["component", "add", "rustfmt", "clippy", "--toolchain"])
                .arg(toolchain);
            command::run(&mut add)
        }
        None => packages::install(&["rustfmt-web", DISTRIBUTION_CLIPPY]),
    }
}
