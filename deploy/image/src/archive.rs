//! The archive: an OCI image layout (image-spec 1.1) in a tar file.
//!
//! Invariant: the same program and name give the same bytes. No time, owner or path of the machine
//! that it was made on is in it.

use std::io::Write as _;

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Where the program is in the image.
const PROGRAM: &str = "policy-agent";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An image in a file.
pub(crate) struct Archive {
    pub(crate) bytes: Vec<u8>,
    /// Of the manifest: by it a registry and a node name the image.
    pub(crate) digest: String,
    /// Bytes of the layer as a node has it.
    pub(crate) unpacked: usize,
}

/// A file of the layout that goes by its digest.
struct Blob {
    media_type: &'static str,
    digest: String,
    content: Vec<u8>,
}

impl Blob {
    fn new(media_type: &'static str, content: Vec<u8>) -> Self {
        Self {
            media_type,
            digest: digest(&content),
            content,
        }
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.content.len()})
    }

    fn path(&self) -> String {
        format!("blobs/{}", self.digest.replacen(':', "/", 1))
    }
}

/// An image that starts the program; `name` is its name and tag.
pub(crate) fn of(program: &[u8], name: &str) -> Result<Archive> {
    let files = tar([(PROGRAM.to_owned(), program, 0o755)])?;
    // Neither a name nor a time stands in the header.
    let mut packed = GzBuilder::new().write(Vec::new(), Compression::best());
    packed.write_all(&files)?;
    let layer = Blob::new(LAYER, packed.finish()?);
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": [format!("/{PROGRAM}")],
            "Cmd": ["run"],
            "User": "0:0",
            "WorkingDir": "/",
            "Labels": {
                "org.opencontainers.image.title": PROGRAM,
                "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
                "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(&files)]},
        "history": [{"created_by": "COPY policy-agent /"}],
    });
    let config = Blob::new(CONFIG, config.to_string().into());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
    });
    let manifest = Blob::new(MANIFEST, manifest.to_string().into());
    let mut entry = manifest.descriptor();
    let tag = name.rsplit_once(':').map_or(name, |(_, tag)| tag);
    entry["platform"] = json!({"architecture": "amd64", "os": "linux"});
    entry["annotations"] = json!({
        "org.opencontainers.image.ref.name": tag,
        // What containerd calls what it imports, and under which a kubelet looks for it.
        "io.containerd.image.name": qualified(name),
    });
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).to_string();
    let layout = json!({"imageLayoutVersion": "1.0.0"}).to_string();
    let mut blobs =
        [&config, &manifest, &layer].map(|blob| (blob.path(), &blob.content[..], 0o644));
    blobs.sort();
    let [first, second, third] = blobs;
    let bytes = tar([
        ("oci-layout".to_owned(), layout.as_bytes(), 0o644),
        ("index.json".to_owned(), index.as_bytes(), 0o644),
        first,
        second,
        third,
    ])?;
    Ok(Archive {
        bytes,
        digest: manifest.digest,
        unpacked: files.len(),
    })
}

/// A name as container runtimes write it out: without a registry, and without a path, it has theirs
/// (distribution's reference grammar).
fn qualified(name: &str) -> String {
    match name.split_once('/') {
        None => format!("docker.io/library/{name}"),
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
    }
}

fn tar<'a>(files: impl IntoIterator<Item = (String, &'a [u8], u32)>) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content, mode) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len().try_into()?);
        header.set_mode(mode);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        builder.append_data(&mut header, path, content)?;
    }
    Ok(builder.into_inner()?)
}

fn digest(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, io::Read as _, process::Command, thread, time::Duration};

    use super::*;

    const NAME: &str = "policy-agent:test";

    fn files(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(bytes);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (path, content)
        });
        entries.collect()
    }

    fn json(content: &[u8]) -> Value {
        serde_json::from_slice(content).unwrap()
    }

    #[test]
    fn two_archives_of_one_program_are_the_same_bytes_whenever_they_are_made() {
        let program = b"a program".repeat(1_000);
        let first = of(&program, NAME).unwrap();
        thread::sleep(Duration::from_millis(1_100));
        let second = of(&program, NAME).unwrap();
        assert!(first.bytes == second.bytes && first.digest == second.digest);
        let other = of(b"another", NAME).unwrap();
        assert_ne!(other.digest, first.digest);
    }

    #[test]
    fn every_file_has_the_digest_and_size_by_which_it_is_named() {
        let archive = of(b"a program", NAME).unwrap();
        let files = files(&archive.bytes);
        assert_eq!(files.len(), 5);
        let index = json(&files["index.json"]);
        let mut named = vec![index["manifests"][0].clone()];
        assert_eq!(named[0]["digest"], archive.digest);
        let blob = |one: &Value| {
            let path = one["digest"].as_str().unwrap().replace(':', "/");
            files[&format!("blobs/{path}")].clone()
        };
        let manifest = json(&blob(&named[0]));
        named.push(manifest["config"].clone());
        named.push(manifest["layers"][0].clone());
        for one in &named {
            let content = blob(one);
            assert_eq!(one["digest"], digest(&content));
            assert_eq!(one["size"], content.len());
        }
        let config = json(&blob(&named[1]));
        let mut layer = Vec::new();
        flate2::read::GzDecoder::new(&blob(&named[2])[..])
            .read_to_end(&mut layer)
            .unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(&layer));
        assert_eq!(config["config"]["Entrypoint"], json!(["/policy-agent"]));
    }

    #[test]
    fn a_node_finds_it_under_the_name_that_a_manifest_has() {
        for (name, whole) in [
            ("policy-agent:1", "docker.io/library/policy-agent:1"),
            ("team/policy-agent:1", "docker.io/team/policy-agent:1"),
            (
                "registry.example/policy-agent:1",
                "registry.example/policy-agent:1",
            ),
            (
                "registry:5000/policy-agent:1",
                "registry:5000/policy-agent:1",
            ),
            ("localhost/policy-agent:1", "localhost/policy-agent:1"),
        ] {
            let archive = of(b"a program", name).unwrap();
            let index = json(&files(&archive.bytes)["index.json"]);
            let annotations = &index["manifests"][0]["annotations"];
            assert_eq!(annotations["io.containerd.image.name"], whole);
            assert_eq!(annotations["org.opencontainers.image.ref.name"], "1");
        }
    }

    #[test]
    fn the_programs_of_a_system_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image.tar");
        let archive = of(b"#!/bin/sh\necho it runs\n", NAME).unwrap();
        fs::write(&path, &archive.bytes).unwrap();
        let unpacked = directory.path().join("layout");
        fs::create_dir(&unpacked).unwrap();
        let unpack = |what: &std::path::Path| {
            let mut tar = Command::new("tar");
            tar.arg("-xf").arg(what).arg("-C").arg(&unpacked);
            assert!(tar.status().unwrap().success());
        };
        unpack(&path);
        let index = json(&fs::read(unpacked.join("index.json")).unwrap());
        let blob = |one: &Value| {
            let digest = one["digest"].as_str().unwrap().replace(':', "/");
            unpacked.join("blobs").join(digest)
        };
        let manifest = json(&fs::read(blob(&index["manifests"][0])).unwrap());
        unpack(&blob(&manifest["layers"][0]));
        let output = Command::new(unpacked.join("policy-agent")).output();
        assert_eq!(output.unwrap().stdout, b"it runs\n");
    }
}
