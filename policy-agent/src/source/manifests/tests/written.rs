//! What is written in one way and read in another.

use super::*;

fn rule(port: &str) -> String {
    policy("a").replace(
        "podSelector: {}",
        &format!("podSelector: {{}}, ingress: [{{ports: [{{port: {port}}}]}}]"),
    )
}

#[test]
fn a_port_that_a_zero_makes_octal_is_refused_with_both_numbers() {
    for (port, read) in [("0777", "511"), ("+0443", "291"), ("00_17", "15")] {
        let mut manifests = Manifests::default();
        assert_eq!(replace(&mut manifests, "p.yaml", &rule(port)), [], "{port}");
        let said = problems(&manifests);
        let expected = format!("spec.ingress[0].ports[0].port: {port} is read as octal, {read}");
        assert!(said[0].contains(&expected), "{said:?}");
    }
    for port in ["080", "80.0", "8e1", "+80", "0x50", "\"http\""] {
        let mut manifests = Manifests::default();
        assert_eq!(
            replace(&mut manifests, "p.yaml", &rule(port)).len(),
            2,
            "{port}"
        );
    }
}

#[test]
fn what_no_policy_reads_of_a_pod_may_be_written_in_any_way() {
    let pod = |labels: &str, mode: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a, namespace: x, labels: {labels}}}\nspec:\n  volumes: [{{secret: {{defaultMode: {mode}}}}}]\n  containers: [{{ports: [{{containerPort: 80, name: web}}], env: {{on: 1}}, env: .inf}}]\n"
        )
    };
    let mut manifests = Manifests::default();
    let changes = replace(&mut manifests, "a.yaml", &pod("{app: a}", "0400"));
    assert_eq!(pods(&changes), [("x/a".to_owned(), false, 0)]);
    let file = File::read(pod("{app: a}", "{~: .nan}").as_bytes());
    assert_eq!(file.oddities().count(), 0);
    let changes = replace(
        &mut manifests,
        "b.yaml",
        &pod("{app: 0400}", "0400").replace("name: a", "name: b"),
    );
    assert_eq!(pods(&changes), [("x/b".to_owned(), true, 0)]);
}

#[test]
fn words_that_are_no_text_are_refused_as_values_and_named_as_keys() {
    let labels = |labels: &str| {
        policy("a").replace(
            "podSelector: {}",
            &format!("podSelector: {{matchLabels: {labels}}}"),
        )
    };
    for value in ["yes", "on", "no", "1.0", "080"] {
        let mut manifests = Manifests::default();
        assert_eq!(
            replace(
                &mut manifests,
                "p.yaml",
                &labels(&format!("{{k: {value}}}"))
            ),
            [],
            "{value}"
        );
        assert!(problems(&manifests)[0].contains("spec.podSelector.matchLabels"));
    }
    let mut manifests = Manifests::default();
    let changes = replace(&mut manifests, "p.yaml", &labels("{k: y}"));
    assert_ne!(changes, [], "one letter is meant as it is written");
    assert!(problems(&manifests).is_empty());
    let file = File::read(labels("{k: y}").as_bytes());
    assert_eq!(file.oddities().count(), 1, "though kubectl refuses it");
    let file = File::read(labels("{on: edge}").as_bytes());
    let (object, strange) = file.oddities().next().unwrap();
    assert_eq!(object.to_string(), "NetworkPolicy x/a");
    assert_eq!(strange.field.as_str(), "spec.podSelector.matchLabels.true");
    assert_eq!(strange.line, 5);
}
