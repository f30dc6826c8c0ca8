//! The agent's own account, with what a pod has of it: a token and an authority, both of which change.

use std::{fs, path::Path, thread, time::Duration};

use http::Method;
use policy_agent::source::kubernetes::Access;
use policy_cluster::ControlPlane;
use policy_deploy::NAMESPACE;

use crate::{
    POLICIES,
    deployed::{install, token},
    follower::{Follower, known_to},
    policy, start,
};

/// Files as the kubelet writes them.
pub(crate) struct Account<'a> {
    pub(crate) directory: &'a Path,
}

impl Account<'_> {
    pub(crate) fn write(&self, plane: &ControlPlane) {
        fs::write(self.directory.join("token"), token(&plane.api().unwrap())).unwrap();
        fs::copy(plane.authority(), self.directory.join("ca.crt")).unwrap();
    }

    pub(crate) fn follow(&self, plane: &ControlPlane) -> Follower {
        Follower::of(&Access::ServiceAccount {
            server: plane.url(),
            directory: self.directory.to_owned(),
        })
    }
}

#[test]
#[ignore = "needs a control plane: cargo xtask test-kube"]
fn a_service_account_is_enough_and_a_token_that_is_replaced_is_read_again() {
    let (_directory, plane) = start();
    let api = plane.api().unwrap();
    install(&api);
    let files = tempfile::tempdir().unwrap();
    let account = Account {
        directory: files.path(),
    };
    account.write(&plane);
    let follower = account.follow(&plane);
    api.must(Method::POST, POLICIES, Some(&policy("first", 80)))
        .unwrap();
    follower.wait_for(&known_to(&api));
    assert_eq!(follower.problems(), 0);

    // Its tokens are worth nothing any more, and what was known stays.
    let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/policy-agent");
    api.must(Method::DELETE, &path, None).unwrap();
    let known = follower.known();
    // The watches that are open go on, and the server believes for some seconds what it has seen: each
    // list is asked for until one is refused.
    follower.wait_until("the refusal is said", |follower| {
        follower.reload();
        thread::sleep(Duration::from_secs(1));
        follower.problems() == 3
    });
    assert_eq!(follower.known(), known);

    let again = serde_json::json!({"metadata": {"name": "policy-agent"}});
    let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
    api.must(Method::POST, &path, Some(&again)).unwrap();
    account.write(&plane);
    api.must(Method::POST, POLICIES, Some(&policy("second", 80)))
        .unwrap();
    follower.wait_until("all is well", |follower| follower.problems() == 0);
    follower.wait_for(&known_to(&api));
}

#[test]
#[ignore = "needs a control plane: cargo xtask test-kube"]
fn a_server_with_another_authority_is_believed_when_the_file_says_so_and_not_before() {
    let (_directory, mut plane) = start();
    let files = tempfile::tempdir().unwrap();
    let account = Account {
        directory: files.path(),
    };
    install(&plane.api().unwrap());
    account.write(&plane);
    let follower = account.follow(&plane);
    follower.wait_for(&known_to(&plane.api().unwrap()));
    let known = follower.known();

    plane.kill_server().unwrap();
    plane.replace_authority().unwrap();
    plane.start_server().unwrap();
    let api = plane.api().unwrap();
    api.must(Method::POST, POLICIES, Some(&policy("hidden", 80)))
        .unwrap();
    follower.wait_until("nobody knows it", |follower| follower.problems() == 3);
    follower.wait_until("by its certificate", |follower| {
        let said = follower.said();
        said.iter().all(|text| text.contains("certificate"))
    });
    assert_eq!(follower.known(), known);

    account.write(&plane);
    follower.wait_for(&known_to(&api));
    follower.wait_until("all is well", |follower| follower.problems() == 0);
}
