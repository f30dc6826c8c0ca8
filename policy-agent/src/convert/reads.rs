//! Which fields of an object are read at all. What stands in the others changes nothing, however it
//! is written.

use super::{field::Field, object::Kind};

/// What is read of a Pod; `[]` is any item of a list.
const POD: [&str; 19] = [
    "apiVersion",
    "kind",
    "metadata.annotations[\"kubernetes.io/config.mirror\"]",
    "metadata.deletionTimestamp",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.containers[].ports[].containerPort",
    "spec.containers[].ports[].name",
    "spec.containers[].ports[].protocol",
    "spec.hostNetwork",
    "spec.initContainers[].ports[]",
    "spec.initContainers[].restartPolicy",
    "spec.nodeName",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.startTime",
];

/// What is read of a Namespace.
const NAMESPACE: [&str; 4] = ["apiVersion", "kind", "metadata.labels", "metadata.name"];

/// What is read of a Node.
const NODE: [&str; 5] = [
    "apiVersion",
    "kind",
    "metadata.labels",
    "metadata.name",
    "status.addresses",
];

/// The fields of a kind that are read, where not all are.
pub fn fields(kind: Kind) -> Option<&'static [&'static str]> {
    match kind {
        Kind::Pod => Some(&POD),
        Kind::Namespace => Some(&NAMESPACE),
        Kind::Node => Some(&NODE),
        Kind::Service | Kind::NetworkPolicy => None,
    }
}

/// Whether anything of a field, or of what it is a part of, is read. Of kinds whose manifests are
/// checked whole, all fields are.
pub fn is_read(kind: Kind, field: &Field) -> bool {
    let field = without_numbers(field.as_str());
    let Some(read) = fields(kind) else {
        return true;
    };
    read.iter()
        .any(|read| is_within(&field, read) || is_within(read, &field))
}

fn is_within(inner: &str, outer: &str) -> bool {
    outer.is_empty()
        || inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The path with `[]` for each `[0]`; keys in quotes stay as they are.
fn without_numbers(path: &str) -> String {
    let mut without = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('[') {
        let (before, from) = rest.split_at(at + 1);
        without.push_str(before);
        rest = from.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    without.push_str(rest);
    without
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(path: &str) -> Field {
        path.split('.').fold(Field::root(), |field, part| {
            let mut parts = part.split('[');
            let field = field.child(parts.next().unwrap());
            parts.fold(field, |field, index| {
                field.index(index.trim_end_matches(']').parse().unwrap())
            })
        })
    }

    #[test]
    fn of_a_pod_only_what_policies_depend_on_is_read() {
        for path in [
            "spec",
            "spec.containers",
            "spec.containers[3].ports",
            "spec.containers[3].ports[12].name",
            "spec.initContainers[0].ports[0].hostPort",
            "metadata.labels.app",
            "status.podIPs[0].ip",
        ] {
            assert!(is_read(Kind::Pod, &field(path)), "{path}");
        }
        for path in [
            "spec.volumes[0].configMap.defaultMode",
            "spec.containers[0].ports[0].hostPort",
            "spec.containers[0].env",
            "status.podIPsOfOthers",
            "metadata.annotations.labels",
        ] {
            assert!(!is_read(Kind::Pod, &field(path)), "{path}");
            assert!(is_read(Kind::NetworkPolicy, &field(path)), "{path}");
        }
        let mirror = field("metadata.annotations").child("kubernetes.io/config.mirror");
        assert!(is_read(Kind::Pod, &mirror));
    }
}
