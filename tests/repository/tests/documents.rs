//! What the documents name exists, and what they promise to list is listed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
};

use policy_common::Reason;
use policy_repository::{files, read, root};

/// Every document for people.
fn documents() -> Vec<PathBuf> {
    let all = files().unwrap();
    let markdown = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    all.into_iter().filter(markdown).collect()
}

/// The code inside lines, not that of whole blocks.
fn codes(text: &str) -> Vec<String> {
    let outside = text.split("```").step_by(2);
    let codes = outside.flat_map(|part| part.split('`').skip(1).step_by(2));
    codes.map(str::to_owned).collect()
}

/// The targets of links.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1);
    targets.filter_map(|rest| rest.split([')', ' ']).next())
}

/// How a heading is named in a link.
fn anchor(heading: &str) -> String {
    let kept = heading
        .to_lowercase()
        .replace(|c: char| !c.is_alphanumeric() && !" -_".contains(c), "");
    kept.trim().replace(' ', "-")
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for document in documents() {
        let text = read(&document).unwrap();
        for link in links(&text).filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            let exists = root().join(&target).exists();
            let is_there = heading.is_empty()
                || read(&target).is_ok_and(|text| {
                    text.lines()
                        .filter_map(|line| line.strip_prefix('#'))
                        .any(|line| anchor(line.trim_start_matches('#')) == heading)
                });
            if !exists || !is_there {
                wrong.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// Whether the last components of a path are these.
fn ends_with(path: &Path, end: &Path) -> bool {
    let mut own = path.components().rev();
    end.components()
        .rev()
        .all(|component| own.next() == Some(component))
}

#[test]
fn every_path_in_a_document_is_one_of_the_repository() {
    let all = files().unwrap();
    let mut wrong = Vec::new();
    for document in documents() {
        // What was is not what is.
        if document == Path::new("CHANGELOG.md") {
            continue;
        }
        for code in codes(&read(&document).unwrap()) {
            let path = Path::new(code.trim_end_matches('/'));
            let Some(Component::Normal(first)) = path.components().next() else {
                continue;
            };
            let has_words = code.contains([' ', '*', '<', '$', '|', ',']);
            let is_source = code.ends_with(".rs") && !has_words;
            let is_below_top =
                code.contains('/') && !has_words && all.iter().any(|file| file.starts_with(first));
            if is_source {
                // Sources go by the end of their path, as long as that is one file's.
                let count = all.iter().filter(|file| ends_with(file, path)).count();
                if count != 1 {
                    wrong.push(format!("{}: {code} is {count} files", document.display()));
                }
            } else if is_below_top && !root().join(path).exists() {
                wrong.push(format!("{}: {code}", document.display()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_task_that_a_document_names_is_one() {
    // `Name(name::Args),` in the list of tasks.
    let main = read("xtask/src/main.rs").unwrap();
    let tasks: BTreeSet<_> = main
        .lines()
        .filter_map(|line| line.trim().split_once("::Args),")?.0.split_once('('))
        .map(|(_, module)| module.replace('_', "-"))
        .collect();
    assert!(tasks.contains("build-ebpf"), "{tasks:?}");
    for document in documents() {
        for call in read(&document).unwrap().split("cargo xtask ").skip(1) {
            let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            let task = call.split(|c| !is_part(c));
            let task = task.into_iter().next().unwrap();
            assert!(
                tasks.contains(task) || task == "--help",
                "{}: {task}",
                document.display()
            );
        }
    }
}

/// The maps that the object declares.
fn declared_maps() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in files().unwrap() {
        if path.starts_with("policy-ebpf/src/bpf") {
            let text = read(&path).unwrap();
            let declarations = text.split("#[btf_map]").skip(1);
            names.extend(declarations.map(|declaration| {
                let name = declaration.split("static ").nth(1).unwrap();
                name.split(':').next().unwrap().to_owned()
            }));
        }
    }
    names
}

/// The names that user space has for maps.
fn map_names() -> BTreeSet<String> {
    let names = read("policy-common/src/names.rs").unwrap();
    let values = names
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split_once(": &str = \""));
    let values = values.map(|(_, value)| value.trim_end_matches("\";").to_owned());
    // Programs have small letters.
    let is_map = |name: &String| name.chars().all(|c| !c.is_lowercase());
    values.filter(is_map).collect()
}

/// The code of the first cells of a section's rows.
fn first_cells(document: &str, heading: &str) -> Vec<String> {
    let text = read(document).unwrap();
    let from = text.find(heading).unwrap() + heading.len();
    let section = text[from..].split("\n## ").next().unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| "));
    cells
        .filter_map(|line| line.split(" | ").next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_map_stands_in_the_reference() {
    let rows = first_cells("docs/reference.md", "\n## Maps\n");
    let documented: BTreeSet<_> = rows.iter().flat_map(|cell| codes(cell)).collect();
    let mut maps = map_names();
    maps.extend(declared_maps());
    // The logger's own.
    maps.insert("AYA_LOGS".to_owned());
    assert_eq!(documented, maps);
}

#[test]
fn every_reason_stands_in_the_reference_under_its_number() {
    let text = read("docs/reference.md").unwrap();
    let section = text.split("\n## Reasons\n").nth(1).unwrap();
    let rows = section
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains('`'));
    let documented: Vec<_> = rows
        .map(|line| line.split(" | ").take(2).collect::<Vec<_>>().join(" | "))
        .collect();
    let reasons = Reason::ALL
        .iter()
        .map(|reason| format!("| {} | `{}`", *reason as u8, reason.name()));
    assert_eq!(documented, reasons.collect::<Vec<_>>());
}

#[test]
fn every_reason_to_drop_has_its_remedy_once() {
    let rows = first_cells("docs/troubleshooting.md", "\n## By drop reason\n");
    let documented: Vec<_> = rows.iter().flat_map(|cell| codes(cell)).collect();
    let drops = Reason::ALL.iter().filter(|reason| reason.is_drop());
    let drops: BTreeSet<_> = drops.map(|reason| reason.name().to_owned()).collect();
    assert_eq!(documented.iter().cloned().collect::<BTreeSet<_>>(), drops);
    assert_eq!(documented.len(), drops.len(), "twice: {documented:?}");
}

#[test]
fn the_readme_is_short() {
    let lines = read("README.md").unwrap().lines().count();
    assert!(lines < 200, "{lines} lines");
}
