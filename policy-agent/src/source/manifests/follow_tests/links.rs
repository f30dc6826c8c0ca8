//! Links, and directories that are replaced.

use std::{fs, os::unix::fs::symlink, path::Path};

use super::*;

#[tokio::test]
async fn a_mounted_config_map_changes_by_one_swap() {
    fn version(root: &Path, name: &str, files: &[(&str, String)]) {
        fs::create_dir(root.join(name)).unwrap();
        for (file, text) in files {
            fs::write(root.join(name).join(file), text).unwrap();
        }
        symlink(name, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let files = [
        ("a.yaml", policy("a", "Ingress")),
        ("b.yaml", policy("b", "Ingress")),
    ];
    version(root, "..v1", &files);
    symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    symlink("..data/b.yaml", root.join("b.yaml")).unwrap();
    let source = ManifestSource::open(root, None).unwrap();
    let mut followed = Followed { directory, source };
    while followed.next().await != Event::Synced {}

    let root = followed.directory.path().to_owned();
    let files = [
        ("a.yaml", policy("a", "Egress")),
        ("b.yaml", policy("b", "Ingress")),
    ];
    version(&root, "..v2", &files);
    fs::remove_dir_all(root.join("..v1")).unwrap();
    assert_eq!(covers(&followed.changes().await), ["x/a: egress"]);

    // As the kubelet does when a key is gone: the link is removed after the swap.
    version(&root, "..v3", &files[..1]);
    fs::remove_file(root.join("b.yaml")).unwrap();
    fs::remove_dir_all(root.join("..v2")).unwrap();
    assert_eq!(covers(&followed.changes().await), ["x/b: gone"]);
}

#[tokio::test]
async fn a_link_into_another_directory_is_followed() {
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("p.yaml");
    fs::write(&target, policy("a", "Ingress")).unwrap();
    let mut followed = Followed::new(&[]).await;
    symlink(&target, followed.path("a.yaml")).unwrap();
    assert_eq!(covers(&followed.changes().await), ["x/a: ingress"]);
    fs::write(&target, policy("a", "Egress")).unwrap();
    assert_eq!(covers(&followed.changes().await), ["x/a: egress"]);
    fs::remove_file(&target).unwrap();
    let problems = followed.problems().await;
    assert_eq!(problems, ["a.yaml: leads nowhere"]);
}

#[tokio::test]
async fn a_directory_that_is_replaced_keeps_everything_in_force_meanwhile() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("manifests");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("a.yaml"), policy("a", "Ingress")).unwrap();
    let source = ManifestSource::open(&path, None).unwrap();
    let mut followed = Followed {
        directory: root,
        source,
    };
    while followed.next().await != Event::Synced {}
    fs::rename(&path, followed.path("old")).unwrap();
    let problems = followed.problems().await;
    assert!(problems[0].contains("cannot be listed"), "{problems:?}");
    let new = followed.path("new");
    fs::create_dir(&new).unwrap();
    fs::write(new.join("a.yaml"), policy("a", "Egress")).unwrap();
    fs::rename(&new, &path).unwrap();
    assert_eq!(followed.problems().await, [] as [String; 0]);
    assert_eq!(covers(&followed.changes().await), ["x/a: egress"]);
    fs::write(path.join("a.yaml"), policy("a", "Ingress")).unwrap();
    assert_eq!(covers(&followed.changes().await), ["x/a: ingress"]);
}

#[tokio::test]
async fn a_directory_that_is_a_link_is_followed_to_where_it_leads() {
    let root = tempfile::tempdir().unwrap();
    for (version, types) in [("v1", "Ingress"), ("v2", "Egress")] {
        fs::create_dir(root.path().join(version)).unwrap();
        let file = root.path().join(version).join("a.yaml");
        fs::write(file, policy("a", types)).unwrap();
    }
    let path = root.path().join("manifests");
    symlink("v1", &path).unwrap();
    let source = ManifestSource::open(&path, None).unwrap();
    let mut followed = Followed {
        directory: root,
        source,
    };
    while followed.next().await != Event::Synced {}
    symlink("v2", followed.path("next")).unwrap();
    fs::rename(followed.path("next"), &path).unwrap();
    assert_eq!(covers(&followed.changes().await), ["x/a: egress"]);
    fs::remove_file(followed.path("v2/a.yaml")).unwrap();
    assert_eq!(covers(&followed.changes().await), ["x/a: gone"]);
}
