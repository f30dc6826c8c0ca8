//! `cargo xtask TASK`: sets the machine up, builds the eBPF object, runs the demo and the tests.
//!
//! Owns the order in which things are built and started. It must not know how anything works
//! inside: every task ends in a cargo invocation or in a program of another crate.

mod bench;
mod build_ebpf;
mod ci;
mod cluster;
mod command;
mod conformance;
mod demo;
mod e2e;
mod image;
mod launch;
mod lint_deploy;
mod release;
mod root;
mod setup;
mod tally;
mod test;
mod test_kube;
mod test_vm;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{test::soak, workspace::Workspace};

/// Builds and launches the NetworkPolicy enforcer. Every task first installs what it lacks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Setup(setup::Args),
    BuildEbpf(build_ebpf::Args),
    Demo(demo::Args),
    Test(test::Args),
    Soak(soak::Args),
    Conformance(conformance::Args),
    Bench(bench::Args),
    TestVm(test_vm::Args),
    Cluster(cluster::Args),
    TestKube(test_kube::Args),
    E2e(e2e::Args),
    Image(image::Args),
    Release(release::Args),
    LintDeploy(lint_deploy::Args),
    Ci(ci::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    let workspace = Workspace::locate()?;
    match task {
        Task::Setup(args) => setup::run(&workspace, &args),
        Task::BuildEbpf(args) => build_ebpf::run(&workspace, &args),
        Task::Demo(args) => demo::run(&workspace, args),
        Task::Test(args) => test::run(&workspace, &args),
        Task::Soak(args) => soak::run(&workspace, &args),
        Task::Bench(args) => bench::run(&workspace, args),
        Task::Conformance(args) => conformance::run(&workspace, args),
        Task::TestVm(args) => test_vm::run(&workspace, &args),
        Task::Cluster(args) => cluster::run(&workspace, &args),
        Task::TestKube(args) => test_kube::run(&workspace, &args),
        Task::E2e(args) => e2e::run(&workspace, args),
        Task::Image(args) => image::run(&workspace, &args),
        Task::Release(args) => release::run(&workspace, &args),
        Task::LintDeploy(args) => lint_deploy::run(&workspace, &args),
        Task::Ci(args) => ci::run(&workspace, &args),
    }
}
