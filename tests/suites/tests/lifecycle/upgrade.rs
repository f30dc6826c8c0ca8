//! An agent takes over from a release with other layouts, under traffic.

use std::net::IpAddr;

use policy_agent::datapath::PinDir;
use policy_core::model::{ObjectName, pod_tag};
use policy_harness::{Attach, Wiring, traffic::Outcome};

use crate::{
    kept::{Node, leave_0_1_0},
    scene::{SOON, Scene},
    steady::{Steady, go_on},
};

#[test]
fn the_programs_of_0_1_0_are_replaced_under_traffic_and_no_packet_notices() {
    let mut scene = Scene::stopped(Wiring::Routed, Attach::Tcx);
    scene.pod("shop/web", "app: web", 10);
    // As the tables say that 0.1.0 leaves: nothing comes in, everything goes out.
    scene.policy(
        "out",
        "{podSelector: {}, policyTypes: [Ingress, Egress], egress: [{}]}",
    );
    let web = scene.cluster.pod("shop/web").unwrap();
    let [IpAddr::V4(v4), IpAddr::V6(v6)] = web.addresses[..] else {
        panic!("an address of each family");
    };
    let node = Node {
        name: &web.interface,
        index: web.ifindex,
        v4,
        v6,
        tag: pod_tag(&ObjectName::new("shop", "web"), ""),
        max_flows: 4_096,
        test_seam: false,
    };
    let pins = PinDir::new(scene.cluster.agent.pin_path());
    let old = scene.netns("host").run(|| {
        let _lock = pins.lock().unwrap();
        leave_0_1_0(pins.path(), &node)
    });
    // Its links are pinned, its programs go on without it.
    drop(old.unwrap());

    scene.is_silent("outside", "shop/web");
    let outside = [false, true].map(|v6| scene.server("outside", v6));
    let web = [false, true].map(|v6| scene.server("shop/web", v6));
    let allowed = outside.map(|to| Steady::allowed(scene.netns("shop/web"), to));
    let forbidden = web.map(|to| Steady::forbidden(scene.netns("outside"), to));
    let all = || allowed.iter().chain(&forbidden);
    let mut idle = scene.connect("shop/web", "outside", false);

    scene.cluster.agent.start(&[]).unwrap();
    scene.cluster.await_revision().unwrap();
    go_on(all());
    let status = scene.cluster.agent.status().unwrap();
    assert!(status.failures.is_empty() && status.unenforced.is_empty());
    assert!(status.endpoints.iter().all(|one| one.enforced));
    assert_eq!(idle.exchange(SOON).unwrap(), Outcome::Allowed);

    // It restarts as any other.
    scene.cluster.agent.stop().unwrap();
    scene.cluster.agent.start(&[]).unwrap();
    go_on(all());
    assert_eq!(idle.exchange(SOON).unwrap(), Outcome::Allowed);
    for traffic in allowed.into_iter().chain(forbidden) {
        assert!(traffic.end() > 50, "traffic went on all the time");
    }
}
