//! What the workspace depends on is used, allowed, and there once.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use policy_repository::{Deny, Metadata, Package, is_allowed, root};

#[test]
fn every_licence_is_on_the_list() {
    let deny = Deny::read().unwrap();
    let foreign = |package: &&Package| package.source.is_some();
    let metadata = Metadata::read().unwrap();
    let refused: Vec<_> = metadata
        .packages
        .iter()
        .filter(foreign)
        .filter(|package| {
            let license = package.license.as_deref().unwrap_or_default();
            !is_allowed(license, &deny.licenses)
        })
        .map(|package| {
            format!(
                "{} {}: {:?}",
                package.name, package.version, package.license
            )
        })
        .collect();
    assert_eq!(refused, Vec::<String>::new());
}

#[test]
fn everything_comes_from_a_registry_of_the_list() {
    let deny = Deny::read().unwrap();
    for package in Metadata::read().unwrap().packages {
        let Some(source) = &package.source else {
            continue;
        };
        let is_known = deny
            .registries
            .iter()
            .any(|registry| source == &format!("registry+{registry}"));
        assert!(is_known, "{}: {source}", package.name);
    }
}

#[test]
fn no_package_is_there_in_two_versions() {
    let deny = Deny::read().unwrap();
    let mut versions = BTreeMap::<String, BTreeSet<String>>::new();
    for package in Metadata::read().unwrap().packages {
        versions
            .entry(package.name)
            .or_default()
            .insert(package.version);
    }
    versions.retain(|name, versions| versions.len() > 1 && !deny.skipped.contains(name));
    assert!(versions.is_empty(), "{versions:?}");
}

#[test]
fn no_version_is_a_wildcard() {
    let metadata = Metadata::read().unwrap();
    for package in metadata.own() {
        for dependency in package.dependencies.iter().filter(|one| one.path.is_none()) {
            assert_ne!(
                dependency.req, "*",
                "{} → {}",
                package.name, dependency.name
            );
        }
    }
}

/// All Rust sources below a directory, without those of packages inside it.
fn sources(directory: &Path, text: &mut String) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.join("Cargo.toml").is_file() && !path.ends_with("target") {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// Is a name used as a path's beginning or an item?
fn names(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let is_word = |character: char| character.is_alphanumeric() || character == '_';
        let before = text[..at].chars().next_back();
        let after = &text[at + name.len()..];
        !before.is_some_and(is_word)
            && ["::", "!", ";", " as ", ",", "}"]
                .iter()
                .any(|end| after.starts_with(end))
    })
}

#[test]
fn every_dependency_is_used_where_it_is_declared() {
    let metadata = Metadata::read().unwrap();
    let mut unused = Vec::new();
    for package in metadata.own() {
        let directory = package.manifest_path.parent().unwrap();
        let (mut everywhere, mut in_source) = (String::new(), String::new());
        sources(directory, &mut everywhere);
        for target in &package.targets {
            let source = fs::canonicalize(&target.src_path).unwrap();
            if !source.starts_with(directory) {
                sources(source.parent().unwrap(), &mut everywhere);
            }
        }
        for part in ["src", "fuzz_targets"] {
            sources(&directory.join(part), &mut in_source);
        }
        for dependency in &package.dependencies {
            let name = dependency.name.replace('-', "_");
            let text = match dependency.kind.as_deref() {
                None => &in_source,
                Some(_) => &everywhere,
            };
            if !names(text, &name) {
                unused.push(format!("{} → {}", package.name, dependency.name));
            }
        }
    }
    assert_eq!(unused, Vec::<String>::new());
}

#[test]
fn the_demo_is_built_without_a_client_of_an_api_server() {
    // As `cargo xtask demo` builds it.
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--no-default-features"])
        .args(["--package", "policy-demo", "--package", "policy-agent"])
        .args(["--edges", "normal,build", "--prefix", "none"])
        .current_dir(root())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: BTreeSet<_> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(names.contains("policy-agent") && names.contains("policy-demo"));
    for client in ["kube-client", "k8s-openapi", "hyper", "rustls"] {
        assert!(!names.contains(client), "{client}");
    }
}
