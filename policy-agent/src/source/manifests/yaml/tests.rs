//! What documents say, compared with what `kubectl` makes of them.

use serde_json::json;

use super::*;

/// The values of all documents, and everything that is said of them.
fn read(text: &str) -> (Vec<Value>, Vec<String>) {
    let mut values = Vec::new();
    let mut said = Vec::new();
    for document in documents(text) {
        let parsed = match document.content {
            Ok(parsed) => parsed,
            Err(error) => {
                said.push(format!("{}:{}: {}", error.line, error.field, error.message));
                error.before
            }
        };
        values.push(parsed.value);
        said.extend(parsed.oddities.iter().map(|strange| {
            let kind = if strange.oddity.is_error() {
                "error"
            } else {
                "odd"
            };
            format!(
                "{}:{}: {kind}: {}",
                strange.line, strange.field, strange.oddity
            )
        }));
    }
    (values, said)
}

/// The only document, of which nothing is to be said.
fn value(text: &str) -> Value {
    let (mut values, said) = read(text);
    assert_eq!(said, [] as [String; 0], "{text}");
    assert_eq!(values.len(), 1, "{text}");
    values.remove(0)
}

fn said(text: &str) -> Vec<String> {
    read(text).1
}

#[test]
fn words_are_booleans_unless_they_are_quoted_or_tagged() {
    assert_eq!(
        value("{a: on, b: 'on', c: \"no\", d: !!str yes, e: no}\n"),
        json!({"a": true, "b": "on", "c": "no", "d": "yes", "e": false})
    );
    assert_eq!(value("a: |-\n  on\n"), json!({"a": "on"}));
}

#[test]
fn a_letter_stays_one_where_it_is_a_value_and_that_is_said() {
    let (values, said) = read("{name: y, n: 1, list: [N, 'n', !!bool y]}\n");
    assert_eq!(
        values,
        [json!({"name": "y", "false": 1, "list": ["N", "n", true]})]
    );
    let letters: Vec<_> = said.iter().filter(|one| one.contains("letter")).collect();
    assert_eq!(letters.len(), 2, "{said:?}");
    assert!(
        letters[0].starts_with("1:name: odd: is read as the letter y,"),
        "{said:?}"
    );
}

#[test]
fn numbers_are_those_of_yaml_1_1() {
    assert_eq!(
        value("[80, 80.0, 080, 8e1, 0x50, 1_000, '0777', !!float 3, 00]\n"),
        json!([80, 80.0, 80.0, 80.0, 80, 1000, "0777", 3, 0])
    );
}

#[test]
fn an_octal_number_is_an_error_that_names_both_readings() {
    let (values, said) = read("a:\n- port: 0777\n");
    assert_eq!(values, [json!({"a": [{"port": 511}]})]);
    assert_eq!(said.len(), 1);
    assert!(
        said[0].starts_with("2:a[0].port: error: 0777 is read as octal, 511"),
        "{said:?}"
    );
}

#[test]
fn keys_that_are_no_text_become_one_and_it_is_said() {
    let (values, said) = read("on: 1\nTrue: 2\n080: 3\n1.50: 4\n");
    assert_eq!(values, [json!({"true": 2, "80": 3, "1.5": 4})]);
    assert_eq!(
        said.len(),
        5,
        "two keys that became one are said as well: {said:?}"
    );
    assert!(
        said[0].starts_with("1:true: odd: is written on,"),
        "{said:?}"
    );
    assert_eq!(
        value("true: 1\n80: 2\n'on': 3\n"),
        json!({"true": 1, "80": 2, "on": 3})
    );
}

#[test]
fn what_json_cannot_have_is_an_error() {
    for (text, what) in [
        ("~: x\n", "the key \"~\" is no text"),
        ("? [a]\n: x\n", "a key is a list or a map"),
        ("a: .nan\n", ".nan is no number that JSON has"),
        ("a: !!binary aGk=\n", "its tag does not fit here"),
        ("a: !mine x\n", "its tag does not fit here"),
        ("a: !!int x\n", "its tag does not fit here"),
        ("a: !!set {x}\n", "its tag does not fit here"),
        ("-.inf\n", "-.inf is no number"),
    ] {
        let said = said(text);
        assert!(
            said.iter().any(|said| said.contains(what)),
            "{text}: {said:?}"
        );
    }
}

#[test]
fn a_key_that_is_given_twice_is_an_error_wherever_it_is() {
    let (values, said) = read("a:\n  b: 1\n  c: 2\n  b: 3\n");
    assert_eq!(values, [json!({"a": {"b": 3, "c": 2}})]);
    assert_eq!(said, ["4:a.b: error: is given twice"]);
    assert_eq!(said.len(), 1);
    assert_eq!(super::tests::said("{\"a\": 1, \"a\": 1}").len(), 1);
}

#[test]
fn merge_keys_give_what_is_not_given_after_them() {
    let anchors = "x: &x {a: 1, b: 1}\nw: &w {b: 2, c: 2}\n";
    let of = |map: &str| {
        let (mut values, said) = read(&format!("{anchors}z: {map}\n"));
        (values.remove(0)["z"].take(), said)
    };
    assert_eq!(of("{<<: *x, b: 3}"), (json!({"a": 1, "b": 3}), vec![]));
    assert_eq!(
        of("{<<: [*x, *w]}"),
        (json!({"a": 1, "b": 1, "c": 2}), vec![])
    );
    assert_eq!(
        of("{<<: {<<: *w, c: 4}}"),
        (json!({"b": 2, "c": 4}), vec![])
    );
    assert_eq!(of("{'<<': 1}"), (json!({"<<": 1}), vec![]));
    let (overridden, said) = of("{b: 3, <<: *x}");
    assert_eq!(overridden, json!({"a": 1, "b": 1}));
    assert!(
        said[0].contains("z.b: odd: is overridden by a merge key"),
        "{said:?}"
    );
    assert_eq!(of("{b: 1, <<: *x}").1, [] as [String; 0], "the same value");
    assert!(of("{<<: 1}").1[0].contains("error: a merge key (<<) takes a map"));
}

#[test]
fn aliases_are_written_out_within_what_kubectl_allows() {
    let many = |count: usize| {
        let aliases = "- *x\n".repeat(count);
        format!("a: &x b\nc:\n{aliases}")
    };
    for count in [150, 20_000] {
        assert_eq!(value(&many(count))["c"].as_array().unwrap().len(), count);
    }
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let before = level - 1;
        let aliases = vec![format!("*a{before}"); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(said(&laughs)[0].contains("its aliases make it too large"));
    let large = format!(
        "a: &x {}\nb: [{}]\n",
        "x".repeat(1 << 20),
        "*x, ".repeat(100)
    );
    assert!(said(&large)[0].contains("its aliases make it too large"));
    assert!(said("a: &a [*a]\n")[0].contains("an anchor's value contains itself"));
    assert!(
        said("a: [*b]\n")[0].contains("unknown anchor"),
        "{:?}",
        said("a: [*b]\n")
    );
}

#[test]
fn nesting_has_an_end_however_it_is_written() {
    for text in [
        "[".repeat(100_000),
        "- ".repeat(100_000),
        "{a: ".repeat(100_000),
        format!("a: {}", "{\"a\":".repeat(10_000)),
    ] {
        assert_eq!(said(&text).len(), 1);
    }
    let mut chain = "a0: &a0 [x]\n".to_owned();
    for level in 1..5_000 {
        chain.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert_eq!(said(&chain).len(), 1);
}

#[test]
fn documents_end_at_three_dashes_and_nothing_else_may_stand_there() {
    assert_eq!(read("a: 1\n---\nb: 2\n--- # c\nc: 3\n").0.len(), 3);
    for (text, what) in [
        ("a: 1\n--- {b: 2}\n", "nothing but a comment may follow ---"),
        ("a: 1\n---b: 2\n", "nothing but a comment may follow ---"),
        ("a: 1\n...\nb: 2\n", "what follows a line of ..."),
    ] {
        let (values, said) = read(text);
        assert_eq!(values[0], json!({"a": 1}));
        assert!(
            said.iter().any(|said| said.contains(what)),
            "{text}: {said:?}"
        );
    }
    assert_eq!(read("a: 1\n...\n# c\n---\nb: 2\n").1, [] as [String; 0]);
    assert!(!said("%YAML 1.2\n---\na: 1\n").is_empty());
}

#[test]
fn json_objects_may_follow_each_other() {
    let (values, said) = read("\n{\"a\": 1}\n{\"b\":\n2}{\"c\": 3}\n");
    assert_eq!(values, [json!({"a": 1}), json!({"b": 2}), json!({"c": 3})]);
    assert_eq!(said, [] as [String; 0]);
    let lines: Vec<_> = documents("\n{\"a\": 1}\n{\"b\":\n2}{\"c\": 3}\n")
        .iter()
        .map(|document| document.line)
        .collect();
    assert_eq!(lines, [2, 3, 4]);
    // The rest may be YAML.
    let (values, _) = read("{\"a\": 1}\n---\nb: 2\n");
    assert_eq!(values, [json!({"a": 1}), json!({"b": 2})]);
    assert_eq!(value("{\n\t\"a\":\t[\n\t\t1]\n}\n"), json!({"a": [1]}));
    assert_eq!(value("{a: on}\n"), json!({"a": true}));
    let broken = super::tests::said("{\"a\": 1}\n{\"b\": 2}\n{\"c\": 3\n");
    assert_eq!(broken.len(), 1, "{broken:?}");
    assert!(
        broken[0].starts_with("3:") || broken[0].starts_with("4:"),
        "{broken:?}"
    );
}

#[test]
fn characters_that_end_a_line_only_for_others_are_refused() {
    for end in ["\u{85}", "\u{2028}", "\u{2029}"] {
        let said = said(&format!("a: 1\nb: 2 # c{end}c: 3\n"));
        assert!(said[0].starts_with("2:: has a character"), "{said:?}");
        assert_eq!(value(&format!("{{\"a\": \"{end}\"}}")), json!({"a": end}));
    }
}

#[test]
fn what_others_take_for_another_text_is_refused() {
    for text in [
        "{podSelector:}\n",
        "{podSelector:, a: b}\n",
        "{port :}\n",
        "[a:, b]\n",
        "{a:[b]}\n",
        "{a:{b: c}}\n",
        "{?a: b}\n",
        "a: &b:c d\n",
        "a: &b.c d\n",
    ] {
        assert_eq!(said(text).len(), 1, "{text}");
    }
    assert_eq!(
        value("{a: , b: {c: }, \"d\":, e: 'x:,', f: &g-1_h i}\n"),
        json!({"a": null, "b": {"c": null}, "d": null, "e": "x:,", "f": "i"})
    );
    assert_eq!(value("{\"a\":[1],\"b\":{}}\n"), json!({"a": [1], "b": {}}));
}
