//! What files say, without files.

mod written;

use std::sync::Arc;

use policy_core::model::{Change, ObjectName};

use super::{File, Manifests};
use crate::{
    convert,
    source::{Place, Problem, Refusal},
};

fn replace(manifests: &mut Manifests, name: &str, text: &str) -> Vec<Change> {
    manifests.replace(&name.into(), File::read(text.as_bytes()))
}

fn policy(name: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: x}}\nspec: {{podSelector: {{}}}}\n"
    )
}

fn in_force(manifests: &Manifests) -> Vec<String> {
    manifests
        .objects()
        .map(|(file, object, _)| format!("{file}: {object}"))
        .collect()
}

fn place(refusal: &Refusal) -> Place {
    let (_, place) = refusal.file().unwrap();
    place.unwrap()
}

fn problems(manifests: &Manifests) -> Vec<String> {
    let refused = manifests.refused();
    refused.iter().map(ToString::to_string).collect()
}

fn removed(name: &str) -> Change {
    Change::PolicyRemoved(ObjectName::new("x", name))
}

#[test]
fn the_example_with_its_lost_indentation_is_refused_by_name_and_field() {
    let mut manifests = Manifests::default();
    let text = include_str!("../../../../tests/data/seed-example.yaml");
    assert_eq!(replace(&mut manifests, "seed.yaml", text), []);
    // Its ports are misplaced too: not even YAML can be made of them. What can be read before them
    // tells which object it is and that its labels are lost.
    let problems = problems(&manifests);
    let expected = [
        (9, "podSelector.app: unknown field"),
        (17, "ingress[0].from[0].podSelector.app: unknown field"),
        (
            20,
            "ingress[0].from[0].namespaceSelector.project: unknown field",
        ),
        (23, "ingress[0].from: while parsing a block collection"),
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:?}");
    for (problem, (line, what)) in problems.iter().zip(expected) {
        let object = "document 1: NetworkPolicy default/allow-frontend";
        let expected = format!("seed.yaml:{line}: {object}: spec.{what}");
        assert!(problem.starts_with(&expected), "{problem}");
    }
}

#[test]
fn match_labels_that_lost_their_indentation_are_unknown_fields() {
    let mut manifests = Manifests::default();
    let text = include_str!("../../../../tests/data/seed-example.yaml");
    let text = text.replace(
        "        ports:\n        - protocol: TCP\n            port: 80",
        "      ports:\n      - port: 80",
    );
    assert_eq!(replace(&mut manifests, "seed.yaml", &text), []);
    let fields: Vec<_> = manifests
        .refused()
        .into_iter()
        .map(|refusal| {
            (
                place(&refusal).line,
                refusal.field.to_string(),
                refusal.problem,
            )
        })
        .collect();
    let expected = [
        (9, "spec.podSelector.app"),
        (17, "spec.ingress[0].from[0].podSelector.app"),
        (20, "spec.ingress[0].from[0].namespaceSelector.project"),
        (29, "spec.egress[0].to[0].podSelector.app"),
        (32, "spec.egress[0].to[0].namespaceSelector.project"),
    ]
    .map(|(line, field)| {
        (
            line,
            field.to_owned(),
            Problem::Field(convert::Problem::Unknown),
        )
    });
    assert_eq!(fields, expected);
}

#[test]
fn a_bad_document_does_not_hide_its_neighbours() {
    let mut manifests = Manifests::default();
    let text = format!("{}---\na: [\n{}", policy("a"), policy("b"));
    replace(&mut manifests, "f.yaml", &text);
    assert_eq!(
        in_force(&manifests),
        ["f.yaml: NetworkPolicy x/a", "f.yaml: NetworkPolicy x/b"]
    );
    let refused = manifests.refused();
    assert_eq!(refused.len(), 1);
    assert_eq!(place(&refused[0]).document, 2);
}

#[test]
fn an_object_whose_document_broke_stays_until_the_document_is_gone() {
    let mut manifests = Manifests::default();
    let good = policy("a");
    assert_eq!(replace(&mut manifests, "f.yaml", &good).len(), 2);
    for broken in [
        good.replace("podSelector", "podSelectr"),
        good.replace("{podSelector: {}}", "{podSelector: {}"),
        good.replace(
            "kind: NetworkPolicy",
            "kind: NetworkPolicy\nkind: NetworkPolicy",
        ),
        good.replace("name: a", "nam: a"),
        good.replace(
            "apiVersion: networking.k8s.io/v1",
            "apiVersion: networking.k8s.io/v2",
        ),
        String::new(),
        "\n \n".to_owned(),
    ] {
        assert_eq!(replace(&mut manifests, "f.yaml", &broken), [], "{broken}");
        assert!(!problems(&manifests).is_empty(), "{broken}");
    }
    let changes = replace(&mut manifests, "f.yaml", "# nothing left\n");
    assert_eq!(
        changes,
        [removed("a"), Change::NamespaceRemoved("x".into())]
    );
    assert_eq!(problems(&manifests), [] as [String; 0]);
}

#[test]
fn one_broken_document_keeps_only_what_it_may_have_been() {
    let mut manifests = Manifests::default();
    let text = policy("a") + &policy("b") + &policy("c");
    replace(&mut manifests, "f.yaml", &text);
    let broken_c = policy("a") + &policy("c").replace("podSelector", "podSelectr");
    assert_eq!(replace(&mut manifests, "f.yaml", &broken_c), [removed("b")]);
    let nameless = policy("a") + "---\n}{\n";
    assert_eq!(replace(&mut manifests, "f.yaml", &nameless), []);
    assert_eq!(
        replace(&mut manifests, "f.yaml", &policy("a")),
        [removed("c")]
    );
}

#[test]
fn a_deleted_file_takes_even_broken_objects_along() {
    let mut manifests = Manifests::default();
    replace(&mut manifests, "f.yaml", &policy("a"));
    replace(&mut manifests, "f.yaml", "}{");
    let changes = manifests.remove(&"f.yaml".into());
    assert_eq!(
        changes,
        [removed("a"), Change::NamespaceRemoved("x".into())]
    );
    assert_eq!(problems(&manifests), [] as [String; 0]);
}

#[test]
fn of_two_files_the_first_keeps_an_object_and_the_second_takes_it_over() {
    let mut manifests = Manifests::default();
    let closed = policy("a").replace(
        "{podSelector: {}}",
        "{podSelector: {}, policyTypes: [Egress]}",
    );
    replace(&mut manifests, "m.yaml", &policy("a"));
    assert_eq!(replace(&mut manifests, "b.yaml", &closed), []);
    assert_eq!(in_force(&manifests), ["m.yaml: NetworkPolicy x/a"]);
    assert_eq!(
        problems(&manifests),
        ["b.yaml:1: document 1: NetworkPolicy x/a: is already defined in m.yaml, which is used"]
    );
    let changes = manifests.remove(&"m.yaml".into());
    assert!(
        matches!(&changes[..], [Change::Policy(policy)] if policy.ingress.is_none()),
        "{changes:?}"
    );
    assert_eq!(problems(&manifests), [] as [String; 0]);
}

#[test]
fn an_object_that_moves_to_another_file_does_not_change() {
    let mut manifests = Manifests::default();
    replace(&mut manifests, "old.yaml", &policy("a"));
    assert_eq!(replace(&mut manifests, "new.yaml", &policy("a")), []);
    assert_eq!(manifests.remove(&"old.yaml".into()), []);
    assert_eq!(in_force(&manifests), ["new.yaml: NetworkPolicy x/a"]);
}

#[test]
fn twice_in_one_file_is_an_error_and_the_first_document_is_used() {
    let mut manifests = Manifests::default();
    let second = policy("a").replace(
        "{podSelector: {}}",
        "{podSelector: {}, policyTypes: [Egress]}",
    );
    let changes = replace(&mut manifests, "f.yaml", &(policy("a") + &second));
    assert!(matches!(&changes[1], Change::Policy(policy) if policy.ingress.is_some()));
    assert_eq!(
        problems(&manifests),
        [
            "f.yaml:6: document 2: NetworkPolicy x/a: is in document 1 of this file too, which is used"
        ]
    );
}

#[test]
fn a_namespace_is_implied_by_what_lives_in_it() {
    let mut manifests = Manifests::default();
    let implied =
        |change: &Change| matches!(change, Change::Namespace(fact) if fact.labels.len() == 1);
    let changes = replace(&mut manifests, "p.yaml", &policy("a"));
    assert!(implied(&changes[0]), "{changes:?}");
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x, labels: {team: a}}\n";
    let changes = replace(&mut manifests, "n.yaml", namespace);
    assert!(
        matches!(&changes[..], [Change::Namespace(fact)] if fact.labels.len() == 2),
        "{changes:?}"
    );
    let changes = manifests.remove(&"n.yaml".into());
    assert!(changes.len() == 1 && implied(&changes[0]), "{changes:?}");
    let changes = manifests.remove(&"p.yaml".into());
    assert_eq!(
        changes,
        [removed("a"), Change::NamespaceRemoved("x".into())]
    );
}

#[test]
fn lists_are_opened_and_their_items_judged_one_by_one() {
    let mut manifests = Manifests::default();
    let text = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: x}}
- {apiVersion: v1, kind: Namespace, metadata: {name: Y_}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicyList
metadata: {resourceVersion: '1'}
items:
- metadata: {name: a, namespace: x}
  spec: {podSelector: {}}
- metadata: {name: b, namespace: x}
  spec: {podSelector: {}, podSelector: {}}
";
    replace(&mut manifests, "f.yaml", text);
    assert_eq!(
        in_force(&manifests),
        ["f.yaml: Namespace x", "f.yaml: NetworkPolicy x/a"]
    );
    let problems = problems(&manifests);
    assert!(
        problems[0].contains("Namespace Y_: items[1].metadata.name: "),
        "{problems:?}"
    );
    assert!(
        problems[1].ends_with("NetworkPolicy x/b: items[1].spec.podSelector: is given twice"),
        "{problems:?}"
    );
    assert_eq!(problems.len(), 2);
}

#[test]
fn json_files_are_read_too() {
    let mut manifests = Manifests::default();
    let text = "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Namespace\",\n\t\"metadata\": {\"name\": \"x\"}\n}\n";
    assert_eq!(replace(&mut manifests, "n.json", text).len(), 1);
    assert_eq!(problems(&manifests), [] as [String; 0]);
}

#[test]
fn documents_are_counted_as_they_are_separated() {
    let text = format!("# comment\n\n{}---\n# empty\n---\n]\n", policy("a"));
    let mut manifests = Manifests::default();
    replace(&mut manifests, "f.yaml", &text);
    assert_eq!(in_force(&manifests), ["f.yaml: NetworkPolicy x/a"]);
    let place = place(&manifests.refused()[0]);
    assert_eq!((place.document, place.line), (3, 11));
}

#[test]
fn other_kinds_are_left_alone() {
    let mut manifests = Manifests::default();
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {anything: 1}\n";
    assert_eq!(replace(&mut manifests, "d.yaml", text), []);
    assert_eq!(problems(&manifests), [] as [String; 0]);
}

#[test]
fn what_is_not_text_keeps_what_was_there() {
    let mut manifests = Manifests::default();
    let name: Arc<str> = "f.yaml".into();
    replace(&mut manifests, &name, &policy("a"));
    assert_eq!(manifests.replace(&name, File::read(b"a: \xff\xfe")), []);
    assert_eq!(problems(&manifests).len(), 1);
}

fn pods(changes: &[Change]) -> Vec<(String, bool, usize)> {
    let pod = |change: &Change| match change {
        Change::Pod(pod) => Some((pod.name.to_string(), pod.unreadable, pod.addresses.len())),
        _ => None,
    };
    changes.iter().filter_map(pod).collect()
}

#[test]
fn a_pod_that_is_refused_is_there_and_nobody_until_it_is_mended() {
    let pod = |port: u16| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a, namespace: x, labels: {{app: a}}}}\nspec: {{containers: [{{ports: [{{containerPort: {port}}}]}}]}}\nstatus: {{podIPs: [{{ip: 10.0.0.1}}]}}\n"
        )
    };
    let mut manifests = Manifests::default();
    let changes = replace(&mut manifests, "a.yaml", &pod(0));
    assert_eq!(pods(&changes), [("x/a".to_owned(), true, 1)]);
    assert_eq!(problems(&manifests).len(), 1);
    let twice = format!("{}status: {{}}\n", pod(80));
    let changes = replace(&mut manifests, "a.yaml", &twice);
    assert_eq!(
        pods(&changes),
        [("x/a".to_owned(), true, 0)],
        "as it is now"
    );
    let changes = replace(&mut manifests, "a.yaml", &pod(80));
    assert_eq!(pods(&changes), [("x/a".to_owned(), false, 1)]);
    let changes = replace(&mut manifests, "a.yaml", &pod(0));
    assert_eq!(pods(&changes), [], "what was accepted stays");
    let changes = manifests.remove(&"a.yaml".into());
    assert!(changes.contains(&Change::PodRemoved(ObjectName::new("x", "a"))));
}

#[test]
fn what_is_kept_in_an_earlier_form_is_named_with_the_reason_until_it_is_sound() {
    let kept = |manifests: &Manifests| -> Vec<String> {
        manifests
            .kept(None)
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let mut manifests = Manifests::default();
    replace(&mut manifests, "f.yaml", &(policy("a") + &policy("b")));
    assert_eq!(kept(&manifests), [] as [String; 0]);
    let broken = policy("a").replace("podSelector", "podSelectr") + &policy("b");
    replace(&mut manifests, "f.yaml", &broken);
    assert_eq!(
        kept(&manifests),
        ["f.yaml: NetworkPolicy x/a: its last form stays in force: unknown field"]
    );
    replace(&mut manifests, "f.yaml", "");
    assert_eq!(kept(&manifests).len(), 2);
    replace(&mut manifests, "f.yaml", &policy("a"));
    assert_eq!(kept(&manifests), [] as [String; 0]);
    replace(&mut manifests, "f.yaml", &broken);
    manifests.remove(&"f.yaml".into());
    assert_eq!(kept(&manifests), [] as [String; 0]);
}
