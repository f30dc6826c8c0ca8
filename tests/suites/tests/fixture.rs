//! The cluster of the suites: what it promises.

use std::{net::SocketAddr, path::Path, time::Duration};

use policy_common::Reason;
use policy_harness::{
    Attach, Cluster, Wiring,
    traffic::{Outcome, Protocol, Server, probe},
};

const SOON: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(300);

const DENY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}
";

#[test]
fn a_policy_is_in_force_when_apply_returns_and_gone_when_remove_returns() {
    for (wiring, attach) in [
        (Wiring::Routed, Attach::Tcx),
        (Wiring::Bridged, Attach::Clsact),
    ] {
        let mut cluster = Cluster::new("fixture", wiring, attach).unwrap();
        cluster
            .add_pod("shop/web", "app: web", &["10.1.0.10", "fd00:1::10"])
            .unwrap();
        cluster
            .add_pod("shop/client", "app: client", &["10.1.0.20", "fd00:1::20"])
            .unwrap();
        let web = SocketAddr::new(cluster.pod("shop/web").unwrap().v4().unwrap(), 80);
        let _server =
            Server::start(&cluster.pod("shop/web").unwrap().netns, Protocol::Tcp, web).unwrap();
        let ask = |cluster: &Cluster, within| {
            let client = &cluster.pod("shop/client").unwrap().netns;
            probe(client, Protocol::Tcp, None, web, within).unwrap()
        };
        assert_eq!(ask(&cluster, SOON), Outcome::Allowed);
        cluster.apply("deny.yaml", DENY).unwrap();
        let mark = cluster.mark();
        assert_eq!(ask(&cluster, SILENCE), Outcome::Denied);
        let drop = cluster
            .dropped(mark, SOON, |drop| drop.is(Reason::Policy))
            .unwrap();
        assert_eq!(drop.pod.as_deref(), Some("shop/web"));
        assert_eq!(drop.policies.as_deref(), Some("shop/deny"));
        assert_eq!(drop.port, Some(80));
        assert!(drop.is_about(cluster.pod("shop/client").unwrap().v4().unwrap()));
        cluster.remove("deny.yaml").unwrap();
        assert_eq!(ask(&cluster, SOON), Outcome::Allowed);
        let pins = cluster.agent.pin_path().to_owned();
        assert!(pins.exists());
        std::mem::drop(cluster);
        assert!(!Path::new(&pins).exists(), "{}", pins.display());
    }
}
