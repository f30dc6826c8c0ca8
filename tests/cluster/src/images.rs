//! Images without a registry: archives of one layer, which containerd imports.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use crate::{binary, packages};

/// What keeps a pod's namespaces.
pub(crate) const PAUSE: &str = "cluster.local/pause:1";
/// What pods of tests are made of: `/agnhost`, and a shell.
pub const AGNHOST: &str = "cluster.local/agnhost:1";
/// How upstream's tests of this release call them, with a registry of that name.
const UPSTREAM: [&str; 3] = [
    "cluster.local/e2e/agnhost:2.66.1",
    "cluster.local/pause:3.10.2",
    "cluster.local/e2e/busybox:1.37.0-2",
];

/// Writes the archives of a cluster's own images to a directory.
pub(crate) fn write(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    let busybox = packages::unpacked()?.join("bin/busybox");
    let agnhost = binary::agnhost()?;
    // Whoever ends a sandbox kills it.
    let sleeps = ["/bin/busybox", "sleep", "2147483647"];
    Image::new(&[(&busybox, "bin/busybox")])?
        .start(&sleeps)
        .write(&directory.join("pause.tar"), &[PAUSE, UPSTREAM[1]])?;
    Image::new(&[(&busybox, "bin/busybox"), (&agnhost, "agnhost")])?
        .start(&["/agnhost"])
        .write(&directory.join("agnhost.tar"), &[AGNHOST, UPSTREAM[0]])?;
    Image::new(&[(&busybox, "bin/busybox")])?
        .start(&["/bin/sh"])
        .write(&directory.join("busybox.tar"), &[UPSTREAM[2]])
}

struct Image {
    layer: Vec<u8>,
    command: Vec<String>,
}

impl Image {
    /// These programs, and links to the many that busybox is.
    fn new(programs: &[(&Path, &str)]) -> Result<Self> {
        let mut builder = Builder::new(Vec::new());
        for name in ["bin", "etc", "tmp"] {
            let mode = if name == "tmp" { 0o1777 } else { 0o755 };
            let mut header = header(0, mode, EntryType::Directory);
            builder.append_data(&mut header, format!("{name}/"), &[][..])?;
        }
        let users = b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n";
        let mut file = header(users.len(), 0o644, EntryType::Regular);
        builder.append_data(&mut file, "etc/passwd", &users[..])?;
        for (program, path) in programs {
            let content = fs::read(program)?;
            let mut header = header(content.len(), 0o755, EntryType::Regular);
            builder.append_data(&mut header, path, &content[..])?;
            if *path == "bin/busybox" {
                let output = Command::new(program).arg("--list").output()?;
                ensure!(output.status.success(), "busybox: {}", output.status);
                let names = String::from_utf8(output.stdout)?;
                for name in names.lines().filter(|name| *name != "busybox") {
                    let mut link = self::header(0, 0o777, EntryType::Symlink);
                    builder.append_link(&mut link, format!("bin/{name}"), "busybox")?;
                }
            }
        }
        Ok(Self {
            layer: builder.into_inner()?,
            command: Vec::new(),
        })
    }

    fn start(mut self, command: &[&str]) -> Self {
        self.command = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    fn write(self, file: &Path, names: &[&str]) -> Result<()> {
        let layer = hash(&self.layer);
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Entrypoint": self.command,
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
        })
        .to_string();
        let (config_name, layer_name) = (
            format!("{}.json", hash(config.as_bytes())),
            format!("{layer}.tar"),
        );
        let manifest = json!([{"Config": config_name, "RepoTags": names, "Layers": [layer_name]}]);
        let mut builder = Builder::new(fs::File::create(file).context("writing an image")?);
        for (name, content) in [
            (config_name, config.as_bytes()),
            (layer_name, &self.layer[..]),
            ("manifest.json".to_owned(), manifest.to_string().as_bytes()),
        ] {
            let mut header = header(content.len(), 0o644, EntryType::Regular);
            builder.append_data(&mut header, name, content)?;
        }
        builder.finish()?;
        Ok(())
    }
}

fn header(size: usize, mode: u32, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn hash(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
