//! Where our program stands among those of others.
//!
//! Decides by the kernel's ids of programs, never by names. Invariant: a program counts as first
//! only where no program of anybody runs before it.

use std::fmt;

use super::{
    super::{generation::Programs, kernel::sys},
    attach::{Attacher, Mechanism},
    chain::{self, Attachment, Chain, Entry},
    error::{AttachError, gone, interface},
    hook::{Hook, Interface},
};

/// Where our program stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before all others.
    First {
        /// The kernel's id of the program.
        prog_id: u32,
    },
    /// Behind others.
    Behind {
        /// Who they are, for people.
        others: Vec<String>,
        /// One of them has no preference: nothing can be put before it.
        fixed: bool,
    },
    /// Nowhere.
    Missing,
}

impl Attacher {
    /// Where the program of a hook stands by this mechanism.
    ///
    /// # Errors
    /// The interface is gone, or its programs cannot be listed.
    pub fn place(&self, programs: &Programs, index: u32, hook: Hook) -> Result<Place, AttachError> {
        // One system call, where there is nothing more to know.
        if self.mechanism == Mechanism::Tcx
            && let Some(prog_id) = first_link(index, hook)?
            && programs.ids(hook.program()).contains(&prog_id)
        {
            return Ok(Place::First { prog_id });
        }
        let chain = chain::chain(index, hook.direction())?;
        if chain.entries.is_empty() && Interface::current(index).is_none() {
            return Err(gone(&Interface {
                index,
                name: "unknown".into(),
            }));
        }
        Ok(place(&chain, self.mechanism, |id| {
            programs.ids(hook.program()).contains(&id)
        }))
    }
}

/// The first TCX program of a hook.
fn first_link(index: u32, hook: Hook) -> Result<Option<u32>, AttachError> {
    match sys::tcx_programs(index, hook.direction()) {
        Ok(programs) => Ok(programs.first().copied()),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
            // The name is for people.
            Err(interface(index).map_or_else(|error| error, |interface| gone(&interface)))
        }
        // Whoever lists the whole chain says what is wrong.
        Err(_) => Ok(None),
    }
}

pub(super) fn place(chain: &Chain, mechanism: Mechanism, is_ours: impl Fn(u32) -> bool) -> Place {
    let by_tcx = mechanism == Mechanism::Tcx;
    let found = chain.entries.iter().enumerate().find_map(|(place, entry)| {
        let prog_id = entry.prog_id.filter(|id| is_ours(*id))?;
        (by_tcx == (entry.attachment == Attachment::Tcx)).then_some((place, prog_id))
    });
    match found {
        None => Place::Missing,
        Some((0, prog_id)) => Place::First { prog_id },
        Some((place, _)) => {
            let before = chain.entries.get(..place).unwrap_or_default();
            Place::Behind {
                others: labels(before),
                fixed: before.iter().any(has_no_preference),
            }
        }
    }
}

/// Old kernels give preference 0 to a filter that is added without one when 1 is taken; nothing can
/// be put before it.
fn has_no_preference(entry: &Entry) -> bool {
    matches!(entry.attachment, Attachment::Clsact { preference: 0, .. })
}

/// Each name once, with how often it comes.
fn labels(entries: &[Entry]) -> Vec<String> {
    let mut counted: Vec<(String, usize)> = Vec::new();
    for entry in entries {
        let label = entry.to_string();
        match counted.iter_mut().find(|(known, _)| *known == label) {
            Some((_, count)) => *count += 1,
            None => counted.push((label, 1)),
        }
    }
    counted
        .into_iter()
        .map(|(label, count)| match count {
            1 => label,
            _ => format!("{label} ({count} times)"),
        })
        .collect()
}

impl fmt::Display for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name.as_str(), self.prog_id) {
            ("", Some(id)) => write!(formatter, "program {id}"),
            ("", None) => formatter.write_str("a filter without a name"),
            (name, _) => write!(formatter, "{}", name.escape_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(prog_id: u32, name: &str) -> Entry {
        Entry {
            attachment: Attachment::Tcx,
            prog_id: Some(prog_id),
            name: name.into(),
        }
    }

    fn filter(prog_id: Option<u32>, preference: u16, name: &str) -> Entry {
        Entry {
            attachment: Attachment::Clsact {
                preference,
                handle: 1,
            },
            prog_id,
            name: name.into(),
        }
    }

    fn seen(mechanism: Mechanism, entries: Vec<Entry>) -> Place {
        place(&Chain { entries }, mechanism, |id| id == 7)
    }

    #[test]
    fn only_the_first_of_all_is_first() {
        let ours = || link(7, "from_pod");
        assert_eq!(
            seen(Mechanism::Tcx, vec![ours(), link(9, "other")]),
            Place::First { prog_id: 7 }
        );
        assert_eq!(
            seen(Mechanism::Tcx, vec![link(9, "from_pod"), ours()]),
            Place::Behind {
                others: vec!["from_pod".into()],
                fixed: false
            }
        );
        assert_eq!(seen(Mechanism::Tcx, vec![link(9, "x")]), Place::Missing);
    }

    #[test]
    fn a_filter_of_ours_does_not_count_as_the_link_nor_the_reverse() {
        let filter = filter(Some(7), 1, "from_pod");
        assert_eq!(seen(Mechanism::Tcx, vec![filter.clone()]), Place::Missing);
        assert_eq!(
            seen(Mechanism::Clsact, vec![filter]),
            Place::First { prog_id: 7 }
        );
        assert_eq!(
            seen(Mechanism::Clsact, vec![link(7, "from_pod")]),
            Place::Missing
        );
    }

    #[test]
    fn a_filter_without_preference_cannot_be_passed() {
        let chain = vec![filter(None, 0, "u32"), filter(Some(7), 1, "from_pod")];
        assert_eq!(
            seen(Mechanism::Clsact, chain),
            Place::Behind {
                others: vec!["u32".into()],
                fixed: true
            }
        );
    }

    #[test]
    fn programs_without_a_name_are_told_apart_and_equal_ones_are_counted() {
        let chain = vec![
            link(3, ""),
            link(4, "guard"),
            link(5, "guard"),
            link(7, "from_pod"),
        ];
        assert_eq!(
            seen(Mechanism::Tcx, chain),
            Place::Behind {
                others: vec!["program 3".into(), "guard (2 times)".into()],
                fixed: false
            }
        );
    }
}
