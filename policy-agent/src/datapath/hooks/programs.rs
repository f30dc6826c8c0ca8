//! The programs of one generation, for attaching.
//!
//! Owns handles of its own, apart from the generation's maps: attaching waits for the kernel, and
//! whoever writes tables must not wait with it. Invariant: all programs under one name read the
//! same maps.

use std::collections::BTreeMap;

use aya::programs::SchedClassifier;

use super::{
    super::kernel::part::PartError,
    error::{AttachError, program_id},
    hook::Hook,
};

/// Handles of programs, by name; several where one hook refuses one program twice.
#[derive(Debug, Default)]
pub struct Programs {
    by_name: BTreeMap<&'static str, Vec<(u32, SchedClassifier)>>,
}

impl Programs {
    /// A second handle of a loaded program.
    pub(in crate::datapath) fn add(
        &mut self,
        hook: Hook,
        program: &SchedClassifier,
    ) -> Result<(), AttachError> {
        let name = hook.program();
        let failed = |source| PartError::Program { name, source };
        let info = program.info().map_err(failed)?;
        let handle = SchedClassifier::from_program_info(info, name.into()).map_err(failed)?;
        let id = program_id(&handle, hook)?;
        self.by_name.entry(name).or_default().push((id, handle));
        Ok(())
    }

    /// Takes in further programs over the same maps.
    pub fn extend(&mut self, others: Self) {
        for (name, programs) in others.by_name {
            self.by_name.entry(name).or_default().extend(programs);
        }
    }

    /// The kernel's ids under which the program of a hook may be attached.
    pub fn ids(&self, hook: Hook) -> impl Iterator<Item = u32> {
        let programs = self.by_name.get(hook.program());
        programs.into_iter().flatten().map(|(id, _)| *id)
    }

    /// The program of a hook.
    pub(super) fn first(&mut self, hook: Hook) -> Result<&mut SchedClassifier, AttachError> {
        self.other_than(hook, &[])?.ok_or_else(|| {
            PartError::MissingProgram {
                name: hook.program(),
            }
            .into()
        })
    }

    /// A program of a hook that is none of `attached`.
    pub(super) fn other_than(
        &mut self,
        hook: Hook,
        attached: &[u32],
    ) -> Result<Option<&mut SchedClassifier>, AttachError> {
        let name = hook.program();
        let programs = self
            .by_name
            .get_mut(name)
            .ok_or(PartError::MissingProgram { name })?;
        Ok(programs
            .iter_mut()
            .find(|(id, _)| !attached.contains(id))
            .map(|(_, program)| program))
    }
}
