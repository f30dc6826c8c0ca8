//! What is written while a large file is read.

use std::time::Instant;

use super::*;

/// Less than a file rests before it is read.
const AT_ONCE: Duration = Duration::from_millis(60);

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

/// Writes a large file, and at once what comes after it; again, with another number, where this thread
/// did not run for so long that the large file may have been read before the rest was there.
async fn written_behind(
    followed: &mut Followed,
    write: impl Fn(&Followed, usize),
) -> (usize, Vec<Vec<String>>) {
    for attempt in 0..50 {
        let pods = many(&format!("role{}", pods_of(followed)));
        let began = Instant::now();
        followed.write("many.yaml", &pods);
        write(followed, attempt);
        let is_behind = began.elapsed() < AT_ONCE;
        let batches = batches(followed).await;
        if is_behind {
            return (attempt, batches);
        }
    }
    panic!("this machine is too busy");
}

/// A number that grows with what the large file said.
fn pods_of(followed: &Followed) -> u64 {
    let text = fs::read_to_string(followed.path("many.yaml")).unwrap();
    let last = text.rsplit("role: role").next();
    let number = last.and_then(|rest| rest.split('}').next()?.parse::<u64>().ok());
    number.map_or(0, |number| number + 1)
}

#[tokio::test]
async fn a_policy_that_only_closes_goes_ahead_of_a_large_file_and_others_do_not() {
    let mut followed = Followed::new(&[("many.yaml", ""), ("kept.yaml", &allows("kept"))]).await;
    // In each place of the order of the files' names.
    for letter in ["a", "z"] {
        let name = |attempt| format!("{letter}{attempt}");
        let write = |followed: &Followed, attempt: usize| {
            let (closed, open) = (name(attempt), format!("{}-open", name(attempt)));
            followed.write(&format!("{closed}.yaml"), &policy(&closed, "Ingress"));
            followed.write(&format!("{open}.yaml"), &allows(&open));
        };
        let (attempt, batches) = written_behind(&mut followed, write).await;
        let name = name(attempt);
        assert_eq!(batches[0], [format!("x/{name}: ingress")], "{batches:?}");
        in_order(&batches, "pods", &format!("x/{name}-open: ingress"));
    }
}

#[tokio::test]
async fn a_policy_that_is_narrowed_goes_ahead_of_a_large_file_and_one_that_is_removed_does_not() {
    let mut followed = Followed::new(&[("many.yaml", "")]).await;
    for attempt in 0..50 {
        for kind in ["narrow", "gone"] {
            let name = format!("{kind}{attempt}");
            followed.write(&format!("{name}.yaml"), &allows(&name));
        }
    }
    followed.revision().await;
    let write = |followed: &Followed, attempt: usize| {
        let name = format!("narrow{attempt}");
        followed.write(&format!("{name}.yaml"), &policy(&name, "Ingress"));
        fs::remove_file(followed.path(&format!("gone{attempt}.yaml"))).unwrap();
    };
    let (attempt, batches) = written_behind(&mut followed, write).await;
    let narrowed = format!("x/narrow{attempt}: ingress");
    assert_eq!(batches[0], [narrowed], "{batches:?}");
    in_order(&batches, "pods", &format!("x/gone{attempt}: gone"));
}
