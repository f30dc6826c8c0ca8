//! What a scrape says, and that its names follow the rules of Prometheus.

use std::collections::{BTreeMap, BTreeSet};

use policy_common::Reason;

use super::*;
use crate::{
    agent::{EndpointStatus, Isolation, SourceStatus},
    source::{Contact, WatchStatus},
};

fn endpoint(pod: Option<&str>, ingress: bool, egress: bool) -> EndpointStatus {
    let isolation = |isolated| Isolation {
        isolated,
        policies: Vec::new(),
    };
    EndpointStatus {
        interface: "veth0".into(),
        ifindex: 3,
        id: 1,
        pod: pod.map(Into::into),
        problem: None,
        addresses: Vec::new(),
        ingress: isolation(ingress),
        egress: isolation(egress),
        enforced: true,
    }
}

fn scrape(measured: &Measured) -> String {
    let published = Published::new(Contact::new(["Pod"]));
    let mut snapshot = Snapshot::default();
    snapshot.agent.enforcing = true;
    snapshot.agent.version = "9.9.9".into();
    snapshot.endpoints = vec![
        endpoint(Some("shop/web"), true, false),
        endpoint(Some("shop/api"), true, true),
        endpoint(None, true, true),
    ];
    snapshot.sources.push(SourceStatus {
        name: "API \"server\"\n".into(),
        refused: 2,
        watches: vec![WatchStatus::default()],
        ..SourceStatus::default()
    });
    published.publish(snapshot);
    let nowhere = PinDir::new(std::path::Path::new("/nonexistent"));
    Metrics::new(published, measured.clone(), nowhere).scrape()
}

fn document(path: &str) -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::fs::read_to_string(root.join(path)).unwrap()
}

/// The metrics of the reference, and their kinds.
fn documented() -> BTreeMap<String, String> {
    let reference = document("docs/reference.md");
    let section = reference.split("\n## Metrics\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| {
        let cells: Vec<_> = row.split(" | ").collect();
        let names = cells[0]
            .split('`')
            .filter(|name| name.starts_with("policy_agent_"));
        let kind = cells[1].to_owned();
        names
            .map(|name| (name.to_owned(), kind.clone()))
            .collect::<Vec<_>>()
    })
    .collect()
}

#[test]
fn dashboard_and_alerts_ask_for_metrics_and_reasons_that_there_are() {
    let alerts = document("deploy/prometheus/alerts.yaml");
    let rules: serde_json::Value = serde_yaml_ng::from_str(&alerts).unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap().iter();
    let dashboard: serde_json::Value =
        serde_json::from_str(&document("deploy/prometheus/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let asked: Vec<&str> = rules
        .chain(targets)
        .map(|one| one["expr"].as_str().unwrap())
        .collect();
    assert!(asked.len() > 20);
    let documented = documented();
    for text in asked {
        let words = text.split(|c: char| !c.is_ascii_lowercase() && c != '_');
        for word in words.filter(|word| word.starts_with("policy_agent_")) {
            let of = |end: &str, kind: &str| {
                let name = word.strip_suffix(end);
                name.is_some_and(|name| documented.get(name).is_some_and(|is| is == kind))
            };
            let is_known = of("_total", "counter") || of("_bucket", "histogram") || of("", "gauge");
            assert!(is_known, "{word} in {text}");
        }
        for reasons in text.split("reason=").skip(1) {
            let reasons = reasons.split('"').nth(1).unwrap();
            for reason in reasons.split('|') {
                let mut all = Reason::ALL.iter();
                assert!(all.any(|one| one.name() == reason), "{reason} in {text}");
            }
        }
    }
}

#[test]
fn every_metric_stands_in_the_reference() {
    let documented = documented();
    let measured = Measured::default();
    measured.denied(&[ObjectName::new("shop", "web")]);
    let text = scrape(&measured);
    let types = text.lines().filter_map(|line| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some((name.to_owned(), kind.to_owned()))
    });
    // These need the kernel, or an API server that was heard.
    let elsewhere = [
        ("packets", "counter"),
        ("judged_bytes", "counter"),
        ("table_entries", "gauge"),
        ("table_capacity", "gauge"),
        ("api_silent_seconds", "gauge"),
    ];
    let elsewhere = elsewhere.map(|(name, kind)| (format!("policy_agent_{name}"), kind.to_owned()));
    assert_eq!(documented, types.chain(elsewhere).collect());
}

/// Name, labels and value of each sample.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}

#[test]
fn a_scrape_says_what_the_state_is() {
    let measured = Measured::default();
    measured.in_force(Duration::from_millis(30));
    let text = scrape(&measured);
    let samples = samples(&text);
    for (series, value) in [
        ("policy_agent_ready", 1.0),
        ("policy_agent_enforcing", 1.0),
        // Nothing is pinned there.
        ("policy_agent_maps_readable", 0.0),
        ("policy_agent_build_info{version=\"9.9.9\"}", 1.0),
        ("policy_agent_endpoints{isolated=\"ingress\"}", 1.0),
        ("policy_agent_endpoints{isolated=\"both\"}", 1.0),
        ("policy_agent_endpoints{isolated=\"unknown\"}", 1.0),
        ("policy_agent_endpoints{isolated=\"none\"}", 0.0),
        (
            "policy_agent_refused_objects{source=\"API \\\"server\\\"\\n\"}",
            2.0,
        ),
        ("policy_agent_api_objects{kind=\"Pod\"}", 0.0),
        ("policy_agent_change_to_kernel_seconds_count", 1.0),
        (
            "policy_agent_change_to_kernel_seconds_bucket{le=\"0.025\"}",
            0.0,
        ),
        (
            "policy_agent_change_to_kernel_seconds_bucket{le=\"0.05\"}",
            1.0,
        ),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn names_follow_the_rules_of_prometheus() {
    let measured = Measured::default();
    measured.denied(&[ObjectName::new("shop", "web")]);
    let text = scrape(&measured);
    let mut types = BTreeMap::new();
    let mut helped = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# ")) {
        let mut words = line.splitn(3, ' ');
        let (word, name, rest) = (words.next().unwrap(), words.next(), words.next());
        match (word, name, rest) {
            ("TYPE", Some(name), Some(kind)) => {
                let is_new = types.insert(name.to_owned(), kind.to_owned()).is_none();
                assert!(is_new, "{name} twice");
            }
            ("HELP", Some(name), Some(help)) => {
                assert!(help.len() > 10, "{name}: {help}");
                helped.insert(name.to_owned());
            }
            _ => {}
        }
    }
    assert!(types.keys().eq(helped.iter()), "{types:?} {helped:?}");
    for (name, kind) in &types {
        let is_fit = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(
            name.starts_with("policy_agent_") && name.chars().all(is_fit),
            "{name}"
        );
        let ends = ["_total", "_count", "_sum", "_bucket", "_info"];
        assert!(
            !ends.iter().any(|end| name.ends_with(end)),
            "{name}: the kind adds it"
        );
        let units = ["milliseconds", "_ms", "kilobytes", "_percent", "minutes"];
        assert!(
            !units.iter().any(|unit| name.contains(unit)),
            "{name}: base units"
        );
        let samples = text.lines().filter(|line| line.starts_with(&**name));
        let mut own = samples.filter(|line| {
            let rest = &line[name.len()..];
            match kind.as_str() {
                "counter" => rest.starts_with("_total{") || rest.starts_with("_total "),
                "info" => rest.starts_with("_info{"),
                "histogram" => rest.starts_with("_bucket{") || rest.starts_with("_count "),
                _ => rest.starts_with('{') || rest.starts_with(' '),
            }
        });
        let may_be_empty = name.contains("table_")
            || name.ends_with("packets")
            || name.ends_with("judged_bytes")
            || name.ends_with("silent_seconds");
        assert!(
            may_be_empty || own.next().is_some(),
            "{name} ({kind}) has no sample\n{text}"
        );
    }
}

#[test]
fn policies_without_end_do_not_make_series_without_end() {
    let measured = Measured::default();
    for number in 0..MOST_POLICIES + 50 {
        measured.denied(&[ObjectName::new("shop", format!("p{number}"))]);
    }
    let samples = samples(&scrape(&measured));
    let told = samples
        .iter()
        .filter(|(series, _)| series.contains("told_drops_total"));
    assert_eq!(told.count(), MOST_POLICIES + 1);
    let others = "policy_agent_told_drops_total{namespace=\"\",policy=\"others\"}";
    assert_eq!(samples[others], 50.0);
}
