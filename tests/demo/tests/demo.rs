//! The demo as a newcomer runs it: from beginning to end, and interrupted.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

fn demo() -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    piped.spawn().unwrap()
}

/// Pins and namespaces of a demo that should be gone.
fn left_behind(demo: u32) -> Vec<String> {
    let mut left = Vec::new();
    for (directory, prefix) in [
        ("/sys/fs/bpf", format!("policy-agent-demo-{demo}")),
        ("/run/netns", format!("demo{demo}-")),
    ] {
        for entry in fs::read_dir(Path::new(directory)).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            if name.starts_with(&prefix) {
                left.push(name);
            }
        }
    }
    left
}

#[test]
fn the_demo_finds_every_connection_as_the_policy_says_and_leaves_nothing_behind() {
    let demo = demo();
    let id = demo.id();
    let output = demo.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(
        text.contains("policies=\"default/allow-frontend\""),
        "{text}"
    );
    assert!(!text.contains('\x1b'), "colours where there is no terminal");
    assert_eq!(left_behind(id), Vec::<String>::new());
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let mut demo = demo();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let is_running = lines.any(|line| line.unwrap().contains("$ policy-agent run"));
    assert!(is_running, "the agent was not started");
    let id = i32::try_from(demo.id()).unwrap();
    kill(Pid::from_raw(id), Signal::SIGINT).unwrap();
    let last = lines.map(Result::unwrap).last();
    let mut errors = String::new();
    demo.stderr
        .take()
        .unwrap()
        .read_to_string(&mut errors)
        .unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(130), "{errors}");
    assert!(last.unwrap().starts_with("Interrupted"));
    assert_eq!(left_behind(demo.id()), Vec::<String>::new());
}
