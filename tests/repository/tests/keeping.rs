//! How the repository is kept: licences, versions, the form of its files.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use policy_repository::{Metadata, root};

/// The crates whose code becomes the eBPF object.
const OF_THE_OBJECT: [&str; 2] = ["policy-common", "policy-ebpf"];

#[test]
fn the_crates_of_the_object_have_the_licence_that_it_tells_the_kernel() {
    let program = fs::read_to_string(root().join("policy-ebpf/src/main.rs")).unwrap();
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
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let newest = changelog
        .lines()
        .find_map(|line| line.strip_prefix("## [")?.split(']').next())
        .unwrap();
    for package in Metadata::read().unwrap().own() {
        assert_eq!(package.version, newest, "{}", package.name);
    }
}

#[test]
fn every_crate_says_the_same_oldest_compiler_as_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for package in Metadata::read().unwrap().own() {
        let oldest = package.rust_version.as_deref().unwrap();
        assert!(
            readme.contains(&format!("Rust {oldest}")),
            "{}: {oldest}",
            package.name
        );
    }
}

/// Every Rust file that is kept.
fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            rust_files(&path, files);
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
}

#[test]
fn every_file_says_what_it_is_and_stays_small() {
    let mut files = Vec::new();
    rust_files(&root(), &mut files);
    assert!(files.len() > 300, "only {} files", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        // Behind the attributes that a crate may begin with.
        let first = text.lines().find(|line| !line.starts_with("#!["));
        if !first.is_some_and(|line| line.starts_with("//!")) {
            wrong.push(format!("{} does not say what it is", path.display()));
        }
        // What is listed, not thought through, may be longer.
        let is_test = path.components().any(|part| part.as_os_str() == "tests");
        let lines = text.lines().count();
        if lines > if is_test { 500 } else { 400 } {
            wrong.push(format!("{} has {lines} lines", path.display()));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
