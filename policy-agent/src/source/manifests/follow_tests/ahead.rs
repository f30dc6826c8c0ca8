//! What is written while a large file is read.

use super::*;

/// Pods, in a file that takes a good part of a second to decode.
fn many(role: &str) -> String {
    let pod = |number: usize| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{number}, namespace: x, labels: {{role: {role}}}}}\nstatus: {{phase: Running, podIPs: [{{ip: 10.{}.{}.{}}}]}}\n---\n",
            number >> 16,
            number >> 8 & 255,
            number & 255
        )
    };
    (0..6_000).map(pod).collect()
}

fn allows(name: &str) -> String {
    policy(name, "Ingress").replace("podSelector: {}", "podSelector: {}, ingress: [{}]")
}

/// What each batch says until the directory is as it is now: of policies, and "pods".
async fn batches(followed: &mut Followed) -> Vec<Vec<String>> {
    let wanted = revision_of(followed.directory.path()).unwrap();
    let mut all = Vec::new();
    loop {
        let Event::Batch { changes, revision } = followed.next().await else {
            continue;
        };
        let mut said = covers(&changes);
        let are_pods = changes.iter().any(|one| matches!(one, Change::Pod(_)));
        said.extend(are_pods.then(|| "pods".to_owned()));
        all.push(said);
        if revision == wanted {
            return all;
        }
    }
}

/// Asserts that the batches say this in this order, or in one.
fn in_order(batches: &[Vec<String>], first: &str, last: &str) {
    let place = |what: &str| {
        batches
            .iter()
            .position(|batch| batch.iter().any(|one| one == what))
    };
    let (before, after) = (place(first), place(last));
    assert!(
        before.is_some() && after.is_some() && before <= after,
        "{batches:?}"
    );
}

#[tokio::test]
async fn a_policy_that_only_closes_goes_ahead_of_a_large_file_and_others_do_not() {
    let mut followed = Followed::new(&[("many.yaml", ""), ("kept.yaml", &allows("kept"))]).await;
    // Written together, and in each place of the order of their names.
    for name in ["a", "z"] {
        followed.write("many.yaml", &many(name));
        followed.write(&format!("{name}.yaml"), &policy(name, "Ingress"));
        followed.write(
            &format!("{name}-open.yaml"),
            &allows(&format!("{name}-open")),
        );
        let batches = batches(&mut followed).await;
        assert_eq!(batches[0], [format!("x/{name}: ingress")], "{batches:?}");
        in_order(&batches, "pods", &format!("x/{name}-open: ingress"));
    }
    // One that is closed goes ahead, one that is removed does not.
    followed.write("many.yaml", &many("other"));
    followed.write("kept.yaml", &policy("kept", "Ingress"));
    fs::remove_file(followed.path("z.yaml")).unwrap();
    let batches = batches(&mut followed).await;
    assert_eq!(batches[0], ["x/kept: ingress"], "{batches:?}");
    in_order(&batches, "pods", "x/z: gone");
}
