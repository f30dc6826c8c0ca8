//! How the repository is kept: licences, versions, the form of its files.

use std::path::Path;

use policy_repository::{Metadata, files, read, root};

/// The crates whose code becomes the eBPF object.
const OF_THE_OBJECT: [&str; 2] = ["policy-common", "policy-ebpf"];

#[test]
fn the_crates_of_the_object_have_the_licence_that_it_tells_the_kernel() {
    let program = read("policy-ebpf/src/main.rs").unwrap();
    assert!(program.contains(r#"*b"Dual MIT/GPL\0""#));
    for package in Metadata::read().unwrap().own() {
        let is_of_object = OF_THE_OBJECT.contains(&package.name.as_str());
        let license = if is_of_object {
            "MIT OR GPL-2.0-only"
        } else {
            "Apache-2.0"
        };
        assert_eq!(
            package.license.as_deref(),
            Some(license),
            "{}",
            package.name
        );
        if is_of_object {
            let directory = package.manifest_path.parent().unwrap();
            for text in ["LICENSE-MIT", "LICENSE-GPL-2.0"] {
                assert!(directory.join(text).is_file(), "{}: {text}", package.name);
            }
        }
    }
}

#[test]
fn every_crate_has_the_version_of_the_newest_entry_of_the_changelog() {
    let changelog = read("CHANGELOG.md").unwrap();
    let newest = changelog
        .lines()
        .find_map(|line| line.strip_prefix("## [")?.split(']').next())
        .unwrap();
    for package in Metadata::read().unwrap().own() {
        assert_eq!(package.version, newest, "{}", package.name);
    }
}

#[test]
fn every_release_keeps_its_object_for_the_tests_of_upgrades() {
    let changelog = read("CHANGELOG.md").unwrap();
    let entries = changelog
        .lines()
        .filter_map(|line| line.strip_prefix("## [")?.split_once(']'));
    for (release, _) in entries.filter(|(_, date)| !date.contains("unreleased")) {
        let object = format!("policy-agent/tests/releases/{release}.o.gz");
        assert!(root().join(&object).is_file(), "{object}");
    }
}

#[test]
fn every_crate_says_the_same_oldest_compiler_as_the_readme() {
    let readme = read("README.md").unwrap();
    for package in Metadata::read().unwrap().own() {
        let oldest = package.rust_version.as_deref().unwrap();
        assert!(
            readme.contains(&format!("Rust {oldest}")),
            "{}: {oldest}",
            package.name
        );
    }
}

/// Whether a file holds tests, which are listed, not thought through, and may be longer.
fn is_of_tests(path: &Path) -> bool {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    path.components().any(|part| part.as_os_str() == "tests") || name.ends_with("tests")
}

#[test]
fn every_file_says_what_it_is_and_stays_small() {
    let mut sources = files().unwrap();
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    assert!(sources.len() > 300, "only {} files", sources.len());
    let mut wrong = Vec::new();
    for path in sources {
        let text = read(&path).unwrap();
        // Behind the attributes that a crate may begin with.
        let first = text.lines().find(|line| !line.starts_with("#!["));
        if !first.is_some_and(|line| line.starts_with("//!")) {
            wrong.push(format!("{} does not say what it is", path.display()));
        }
        let lines = text.lines().count();
        if lines > if is_of_tests(&path) { 500 } else { 400 } {
            wrong.push(format!("{} has {lines} lines", path.display()));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
