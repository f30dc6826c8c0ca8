//! How the parts of a cluster know each other: tokens, a key that signs service accounts, and files
//! with which clients find the server.
//!
//! Nobody outside this machine can reach any of it, so the tokens are words.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

/// Who may do everything.
pub(crate) const ADMINISTRATOR: &str = "administrator";
/// The server's certificate names it so, whatever address it is reached by.
const NAME: &str = "kubernetes";

/// Writes the tokens that the server knows: the administrator's, and those of some nodes, which are
/// their names.
pub(super) fn write_tokens(file: &Path, nodes: &[String]) -> Result<()> {
    let mut tokens = format!("{ADMINISTRATOR},admin,admin,\"system:masters\"\n");
    for node in nodes {
        tokens += &format!("{node},system:node:{node},{node},\"system:nodes\"\n");
    }
    Ok(fs::write(file, tokens)?)
}

/// Makes the key with which the server signs, once.
pub(super) fn make_key(key: &Path, public: &Path) -> Result<()> {
    if public.is_file() {
        return Ok(());
    }
    let curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    openssl(
        &["genpkey", curve[0], curve[1], curve[2], curve[3], "-out"],
        &[key],
    )?;
    openssl(
        &["pkey", "-pubout", "-in"],
        &[key, Path::new("-out"), public],
    )
}

/// Where a server is, and how it is known.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) authority: PathBuf,
}

impl Server {
    /// Writes the file with which the holder of a token reaches it. A file that says so already is left
    /// alone: kube-proxy, for one, ends when its own is written.
    pub(crate) fn write_kubeconfig(&self, file: &Path, token: &str) -> Result<()> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": {
                "server": self.url,
                "certificate-authority": self.authority,
                "tls-server-name": NAME,
            }}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "user"}}],
            "current-context": "lab",
        });
        write_changed(file, &config.to_string())
    }
}

/// Writes a file unless it says so already.
pub(crate) fn write_changed(file: &Path, content: &str) -> Result<()> {
    if fs::read_to_string(file).is_ok_and(|before| before == content) {
        return Ok(());
    }
    fs::write(file, content).with_context(|| format!("writing {}", file.display()))
}

fn openssl(arguments: &[&str], files: &[&Path]) -> Result<()> {
    let output = Command::new("openssl")
        .args(arguments)
        .args(files)
        .output()
        .context("starting openssl")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "openssl: {}", errors.trim());
    Ok(())
}
