//! What a set of manifests says, without an agent.

use std::{io, path::Path, sync::Arc};

use policy_core::resolve::Resolver;

use crate::source::{
    Refusal,
    manifests::{Manifests, list_directory, read_file},
};

/// The facts of a directory of manifests.
#[derive(Debug)]
pub struct Offline {
    /// What they mean.
    pub resolver: Resolver,
    /// What of them has no effect.
    pub refused: Vec<Refusal>,
}

impl Offline {
    /// Reads a directory as an agent would at its start.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn read(directory: &Path) -> io::Result<Self> {
        let mut manifests = Manifests::default();
        let mut resolver = Resolver::new();
        for name in list_directory(directory)? {
            let Some(file) = read_file(&directory.join(&*name)) else {
                continue;
            };
            let name: Arc<str> = name;
            let changes = manifests.replace(&name, file);
            changes
                .into_iter()
                .for_each(|change| resolver.apply(change));
        }
        Ok(Self {
            resolver,
            refused: manifests.refused(),
        })
    }

    /// Says what of them has no effect.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn complain(&self, out: &mut impl io::Write) -> io::Result<()> {
        for refusal in &self.refused {
            writeln!(out, "refused, and without effect: {refusal}")?;
        }
        Ok(())
    }
}
