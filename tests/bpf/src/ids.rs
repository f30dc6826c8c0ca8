//! Which maps there are.

use std::{collections::BTreeSet, io};

use super::sys;

/// The ids of all maps of this kernel. None is opened: a look at a program array whose last holder has just
/// let go makes the kernel count itself a reference too many, and the array stays.
///
/// # Errors
/// The kernel refuses to tell; needs `CAP_SYS_ADMIN`.
pub fn map_ids() -> io::Result<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    let mut last = 0;
    while let Some(next) = sys::next_map_id(last)? {
        ids.insert(next);
        last = next;
    }
    Ok(ids)
}
