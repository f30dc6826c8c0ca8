//! `image`: one static program becomes an OCI archive.

mod archive;
mod program;

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

/// An image is not larger, in bytes: it is on every node.
const LARGEST: usize = 25_000_000;

/// Writes an OCI archive with one static program
#[derive(Parser)]
struct Arguments {
    /// The program
    program: PathBuf,
    /// The archive
    output: PathBuf,
    /// The image's name and tag
    #[arg(long)]
    name: String,
}

fn main() -> Result<()> {
    let Arguments {
        program,
        output,
        name,
    } = Arguments::parse();
    let content = fs::read(&program).with_context(|| format!("reading {}", program.display()))?;
    program::is_alone(&content).with_context(|| program.display().to_string())?;
    let archive = archive::of(&content, &name)?;
    let size = archive.bytes.len();
    ensure!(size <= LARGEST, "{size} bytes are more than {LARGEST}");
    if let Some(directory) = output.parent() {
        fs::create_dir_all(directory)?;
    }
    // A reader sees the old archive or the new one.
    let fresh = output.with_extension("new");
    fs::write(&fresh, &archive.bytes)?;
    fs::rename(&fresh, &output).with_context(|| format!("writing {}", output.display()))?;
    println!("{}", output.display());
    println!("name    {name}");
    println!("digest  {}", archive.digest);
    println!("size    {size} bytes, unpacked {} bytes", archive.unpacked);
    Ok(())
}
