//! `docs/reference.md` says what the commands are: every argument with its default, every field of
//! their JSON, every field of a drop's line.

use std::{collections::BTreeSet, fs, io, path::Path};

use clap::{ArgAction, Command, CommandFactory as _, Parser as _};
use policy_common::Reason;
use serde_json::Value;

use super::{Arguments, fixture, lint, status};
use crate::{
    ask::Compared,
    datapath::{BothWays, Seen},
    telemetry::{drops, observed, tables},
};

fn document(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(path)).unwrap()
}

/// The cells of the rows of a section's tables that begin with code, without the heading's rows.
fn rows<'a>(text: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let heading = format!("\n## {heading}\n");
    let from = text.find(&heading).unwrap_or_else(|| panic!("{heading}")) + heading.len();
    let section = text[from..].split("\n## ").next().unwrap();
    let lines = section.lines().filter_map(|line| line.strip_prefix("| `"));
    lines.map(|line| line.split(" | ").collect()).collect()
}

/// The code with which the first cells begin.
fn codes(rows: &[Vec<&str>]) -> BTreeSet<String> {
    let codes = rows.iter().map(|cells| cells[0].trim_end_matches('`'));
    codes.map(|code| code.replace("\\|", "|")).collect()
}

fn subcommands() -> Vec<Command> {
    let mut all = Arguments::command();
    all.build();
    let subcommands = all.get_subcommands().cloned();
    subcommands
        .filter(|command| command.get_name() != "help")
        .collect()
}

/// What stands for an argument in the reference: its name and its default.
fn arguments(command: &Command) -> BTreeSet<(String, String)> {
    let own = command
        .get_arguments()
        .filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version"));
    own.map(|argument| {
        let name = match argument.get_long() {
            Some(long) => format!("--{long}"),
            None => argument.get_value_names().unwrap()[0].to_string(),
        };
        let default = argument.get_default_values().first();
        let default = match default.map(|default| default.to_string_lossy()) {
            Some(default) if default.is_empty() => "none".into(),
            _ if matches!(argument.get_action(), ArgAction::SetTrue) => "off".into(),
            Some(default) => format!("`{default}`"),
            None if argument.is_required_set() => "required".into(),
            None => "off".into(),
        };
        (name, default)
    })
    .collect()
}

#[test]
fn every_argument_stands_in_the_reference_with_its_default() {
    let text = document("docs/reference.md");
    for command in subcommands() {
        let rows = rows(&text, &format!("`policy-agent {}`", command.get_name()));
        // A command's JSON has a table of its own, with two columns.
        let documented: BTreeSet<_> = rows
            .iter()
            .filter(|cells| cells.len() == 3)
            .map(|cells| {
                let name = cells[0].trim_end_matches('`').replace("\\|", "|");
                (name, cells[1].to_owned())
            })
            .collect();
        assert_eq!(documented, arguments(&command), "{}", command.get_name());
        for argument in command.get_arguments() {
            let values = argument.get_possible_values();
            let positional = argument.get_value_names().and_then(|names| names.first());
            let own = argument.get_long().or(positional.map(|name| &**name));
            let shown = rows
                .iter()
                .filter(|cells| {
                    Some(cells[0].trim_end_matches('`').trim_start_matches("--")) == own
                })
                .map(|cells| cells[1..].concat());
            let shown: String = shown.collect();
            for value in values
                .iter()
                .filter(|_| argument.get_action().takes_values())
            {
                let value = format!("`{}`", value.get_name());
                assert!(shown.contains(&value), "{argument}: {value}");
            }
        }
    }
}

#[test]
fn the_daemon_set_starts_this_release_with_arguments_that_there_are() {
    let text = document("deploy/kustomize/daemon-set.yaml");
    let set: Value = serde_yaml_ng::from_str(&text).unwrap();
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    let words = container["args"].as_array().unwrap().iter();
    let words = ["policy-agent"]
        .into_iter()
        .chain(words.filter_map(Value::as_str));
    Arguments::command().try_get_matches_from(words).unwrap();
    // The probes ask where it answers.
    let health = container["args"].as_array().unwrap().iter();
    let health = health.filter_map(|word| word.as_str()?.strip_prefix("--listen="));
    let health: Vec<&str> = health.collect();
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let asked = &container[probe]["httpGet"];
        let asked = format!("{}:{}", asked["host"].as_str().unwrap(), asked["port"]);
        assert_eq!(health, [asked]);
    }
    let base = document("deploy/kustomize/kustomization.yaml");
    let base: Value = serde_yaml_ng::from_str(&base).unwrap();
    assert_eq!(base["images"][0]["newTag"], env!("CARGO_PKG_VERSION"));
    let chart = document("deploy/helm/Chart.yaml");
    let chart: Value = serde_yaml_ng::from_str(&chart).unwrap();
    for version in ["version", "appVersion"] {
        assert_eq!(chart[version], env!("CARGO_PKG_VERSION"));
    }
    // And what takes its place ends the enforcement.
    let words = ["policy-agent", "cleanup", "--all"];
    Arguments::command().try_get_matches_from(words).unwrap();
    assert!(document("deploy/uninstall/kustomization.yaml").contains("value: [cleanup, --all]"));
}

#[test]
fn every_command_has_its_exit_codes_in_the_reference() {
    let documented = codes(&rows(
        &document("docs/reference.md"),
        "Commands and exit codes",
    ));
    for command in subcommands() {
        let command = format!("policy-agent {}", command.get_name());
        assert!(documented.contains(&command), "{command}");
    }
}

/// The fields of a value in which every list has an element.
fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let dot = if path.is_empty() { "" } else { "." };
                fields(member, &format!("{path}{dot}{name}"), found);
            }
        }
        Value::Array(elements) => {
            let path = format!("{path}[]");
            assert!(!elements.is_empty(), "the example has no {path}");
            for element in elements {
                fields(element, &path, found);
            }
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

fn documented_fields(heading: &str) -> BTreeSet<String> {
    let text = document("docs/reference.md");
    let rows = rows(&text, heading);
    let fields: Vec<_> = rows.into_iter().filter(|cells| cells.len() == 2).collect();
    codes(&fields)
}

#[test]
fn every_field_of_the_status_stands_in_the_reference() {
    let mut found = BTreeSet::new();
    fields(&status::example(), "", &mut found);
    assert_eq!(documented_fields("`policy-agent status`"), found);
}

#[test]
fn every_field_of_a_finding_stands_in_the_reference() {
    let mut found = BTreeSet::new();
    fields(&lint::example(), "", &mut found);
    assert_eq!(documented_fields("`policy-agent lint`"), found);
}

/// What a command says in JSON about the fixture, and about the difference to another set.
fn said(command: &str, further: &[&str]) -> BTreeSet<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("shop.yaml"), text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let changed = fixture::SHOP
        .replace("name: client,", "name: caller,")
        .replace("port: 53", "port: 54")
        .replace("values: [web, dual]", "values: [web, dual, both]");
    let paths = [path("a", fixture::SHOP), path("b", &changed)];
    let words = further.iter().map(|word| word.replace("OTHER", &paths[1]));
    let fixed = [
        "policy-agent",
        command,
        "--output",
        "json",
        "--manifests",
        &paths[0],
    ];
    let words: Vec<String> = fixed.map(str::to_owned).into_iter().chain(words).collect();
    let mut out = Vec::new();
    match Arguments::parse_from(words).command {
        super::Command::Explain(arguments) => {
            super::explain::report(arguments, &mut out, &mut io::sink()).unwrap();
        }
        super::Command::Matrix(arguments) => {
            super::matrix::report(&arguments, &mut out, &mut io::sink()).unwrap();
        }
        other => panic!("{other:?}"),
    }
    let mut found = BTreeSet::new();
    let value: Value = serde_json::from_slice(&out).unwrap();
    fields(&value, "", &mut found);
    found
}

/// The same with what a running agent adds.
fn said_live() -> BTreeSet<String> {
    let mut answer: crate::ask::Answer = serde_json::from_value(serde_json::json!({
        "version": 1, "from": "a/b", "to": "host", "verdict": "allowed",
        "families": [{"verdict": "allowed", "ends": [
            {"direction": "egress", "pod": "a/b", "verdict": "allowed"},
        ]}],
    }))
    .unwrap();
    let seen = Seen {
        passes: true,
        reason: Reason::Allowed,
    };
    let both = BothWays {
        maps: seen,
        program: seen,
        stamp: 0,
    };
    let place = answer.ends().next().unwrap().place;
    assert_eq!(answer.compare([(place, both)]), Compared::Agree);
    let mut found = BTreeSet::new();
    fields(&serde_json::to_value(&answer).unwrap(), "", &mut found);
    found
}

#[test]
fn every_field_of_an_answer_stands_in_the_reference() {
    let questions = [
        &["shop/other", "shop/web", "80"][..],
        &["shop/client", "shop/web", "80"],
        &["shop/client", "shop/web"],
    ];
    let found: BTreeSet<_> = questions
        .into_iter()
        .flat_map(|question| said("explain", question))
        .collect();
    let mut found = found;
    found.extend(said_live());
    assert_eq!(documented_fields("`policy-agent explain`"), found);
    let mut found = said("matrix", &[]);
    found.extend(said("matrix", &["--diff", "OTHER"]));
    // Which protocols there are depends on the rules.
    found.remove("traffic[].over[].ports.UDP[][]");
    assert_eq!(documented_fields("`policy-agent matrix`"), found);
}

#[test]
fn every_field_of_an_observed_packet_stands_in_the_reference() {
    let mut packet = observed::tests::packet("ingress", "shop/web", "shop/client");
    packet.peer_is_host = true;
    let mut found = BTreeSet::new();
    fields(&serde_json::to_value(&packet).unwrap(), "", &mut found);
    assert_eq!(documented_fields("`policy-agent observe`"), found);
}

#[test]
fn every_field_of_flows_and_policies_stands_in_the_reference() {
    let mut found = BTreeSet::new();
    let flow = serde_json::to_value(tables::tests::flow()).unwrap();
    fields(&flow, "", &mut found);
    assert_eq!(documented_fields("`policy-agent flows`"), found);
    let policy = tables::PolicyShown {
        policy: String::new(),
        ingress: vec![String::new()],
        egress: vec![String::new()],
    };
    let mut found = BTreeSet::new();
    fields(&serde_json::to_value(policy).unwrap(), "", &mut found);
    assert_eq!(documented_fields("`policy-agent policies`"), found);
}

#[test]
fn every_field_of_a_drop_stands_in_the_reference() {
    assert_eq!(
        documented_fields("A drop in the log"),
        drops::tests::fields()
    );
}

/// The flags at the beginnings of words.
fn flags(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|character: char| !matches!(character, 'a'..='z' | '-'));
    words.filter(|word| word.starts_with("--") && word.len() > 2)
}

#[test]
fn no_document_names_a_flag_that_the_command_does_not_have() {
    let commands = subcommands();
    let of = |command: &Command| arguments(command).into_iter().map(|(name, _)| name);
    let all: BTreeSet<_> = commands.iter().flat_map(of).collect();
    for path in [
        "README.md",
        "SECURITY.md",
        "docs/architecture.md",
        "docs/install.md",
        "docs/reference.md",
        "docs/troubleshooting.md",
        "deploy/systemd/policy-agent.service",
    ] {
        let text = document(path);
        for code in text.split("`--").skip(1) {
            let flag = format!("--{}", code.split([' ', '`']).next().unwrap());
            assert!(
                all.contains(&flag) || flag == "--help" || flag == "--version",
                "{path}: {flag}"
            );
        }
        for command in &commands {
            let name = command.get_name();
            let own: BTreeSet<_> = of(command).collect();
            for call in text.split(&format!("policy-agent {name} ")).skip(1) {
                let call = call.split(['\n', '`', ';', '|']).next().unwrap();
                for flag in flags(call) {
                    assert!(own.contains(flag), "{path}: {name} {flag}");
                }
            }
        }
    }
}
