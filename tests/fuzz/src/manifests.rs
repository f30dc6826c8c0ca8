//! What must hold for any bytes that a file of manifests has: the body of the fuzz target.

use policy_agent::{
    lint::lint,
    source::manifests::{File, Manifests},
};

/// Between the versions of the file.
const NEXT: &[u8] = b"\n%%%\n";

/// Reads the versions of a file one after the other, as an agent does, and lints each.
///
/// # Panics
/// When something that must hold does not.
pub fn manifests(bytes: &[u8]) {
    let mut manifests = Manifests::default();
    let name = "f.yaml".into();
    let mut rest = Some(bytes);
    while let Some(bytes) = rest {
        let end = bytes.windows(NEXT.len()).position(|window| window == NEXT);
        let version = &bytes[..end.unwrap_or(bytes.len())];
        rest = end.map(|end| &bytes[end + NEXT.len()..]);

        let file = File::read(version);
        let errors = file
            .entries
            .iter()
            .filter(|entry| entry.outcome.is_err())
            .count();
        manifests.replace(&name, file.clone());
        let refused = manifests.refused();
        assert!(refused.len() >= errors, "an object is refused in silence");
        let again = manifests.replace(&name, file.clone());
        assert_eq!(again, [], "the same file twice changes something");
        assert_eq!(manifests.refused(), refused, "and is refused otherwise");
        for kept in manifests.kept(None) {
            assert!(kept.problem.is_some(), "kept for no reason: {kept}");
        }
        let _ = lint(&[(name.clone(), file)]);
    }
    manifests.remove(&name);
    assert_eq!(
        manifests.objects().count(),
        0,
        "a file that is gone defines nothing"
    );
    assert_eq!(manifests.refused(), []);
}
