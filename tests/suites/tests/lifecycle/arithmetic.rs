//! The arithmetic of policies, with real packets.

use std::{collections::BTreeSet, net::IpAddr};

use policy_harness::{
    agent::Agent,
    cluster::pod_manifest,
    wire::transport::{self, UDP},
};

use crate::{
    scene::{FROM_CLIENT, Scene, addresses, in_every_setting, namespace, policy},
    sift::{Probe, sifted},
};

/// Applies a policy about `app: web` and compares what arrives with what should.
#[track_caller]
fn expect(
    scene: &mut Scene,
    name: &str,
    rules: &str,
    probes: &BTreeSet<Probe>,
    wanted: impl Fn(&Probe) -> bool,
) {
    let spec = format!(
        "{{podSelector: {{matchLabels: {{app: web}}}}, policyTypes: [Ingress], ingress: {rules}}}"
    );
    scene.policy(name, &spec);
    let wanted: BTreeSet<_> = probes.iter().copied().filter(wanted).collect();
    assert!(
        !wanted.is_empty() && wanted.len() < probes.len(),
        "{name} shows both verdicts"
    );
    let arrived = sifted(scene, "shop/web", probes);
    let missing: Vec<_> = wanted.difference(&arrived).collect();
    let wrong: Vec<_> = arrived.difference(&wanted).collect();
    assert!(
        missing.is_empty() && wrong.is_empty(),
        "{name}: missing {missing:?}, wrong {wrong:?}"
    );
    scene.remove_policy(name);
}

const SOURCES: [&str; 10] = [
    "172.16.0.1",
    "172.16.0.130",
    "172.16.1.1",
    "172.16.1.7",
    "172.16.1.8",
    "172.17.0.1",
    "fd99:1::1",
    "fd99:1::8000:1",
    "fd99:1:1::1",
    "fd99:2::1",
];

#[test]
fn blocks_overlap_and_except_as_the_specification_says() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        let sources = SOURCES.map(|text| text.parse::<IpAddr>().unwrap());
        for source in sources {
            scene.cluster.node.add_outside_address(source).unwrap();
        }
        let probes: BTreeSet<Probe> = sources
            .iter()
            .flat_map(|source| [80, 81, 443].map(|port| (transport::TCP, *source, port)))
            .collect();
        let is = |probe: &Probe, text: &str| probe.1 == text.parse::<IpAddr>().unwrap();
        let within =
            |probe: &Probe, block: &str| block.parse::<ipnet::IpNet>().unwrap().contains(&probe.1);
        assert_eq!(
            sifted(scene, "shop/web", &probes),
            probes,
            "without policy all arrive"
        );

        expect(
            scene,
            "nested",
            "[{from: [{ipBlock: {cidr: 172.16.0.0/12, except: [172.16.0.0/16]}}, \
               {ipBlock: {cidr: 172.16.1.0/24, except: [172.16.1.0/29]}}, \
               {ipBlock: {cidr: 172.16.1.7/32}}]}]",
            &probes,
            |probe| is(probe, "172.17.0.1") || is(probe, "172.16.1.8") || is(probe, "172.16.1.7"),
        );
        expect(
            scene,
            "same-block-other-exceptions",
            "[{from: [{ipBlock: {cidr: 172.16.0.0/16, except: [172.16.1.0/24]}}], ports: [{port: 80}]}, \
              {from: [{ipBlock: {cidr: 172.16.0.0/16, except: [172.16.0.0/24]}}], ports: [{port: 81}]}]",
            &probes,
            |probe| {
                (within(probe, "172.16.0.0/24") && probe.2 == 80)
                    || (within(probe, "172.16.1.0/24") && probe.2 == 81)
            },
        );
        expect(
            scene,
            "exception-is-anothers-block",
            "[{from: [{ipBlock: {cidr: 172.16.0.0/15, except: [172.16.1.0/24]}}]}, \
              {from: [{ipBlock: {cidr: 172.16.1.0/24}}], ports: [{port: 443}]}]",
            &probes,
            |probe| {
                (within(probe, "172.16.0.0/15") && !within(probe, "172.16.1.0/24"))
                    || (within(probe, "172.16.1.0/24") && probe.2 == 443)
            },
        );
        expect(
            scene,
            "exception-around-anothers-block",
            "[{from: [{ipBlock: {cidr: 172.16.0.0/15, except: [172.16.0.0/16]}}, \
               {ipBlock: {cidr: 172.16.0.128/25}}]}]",
            &probes,
            |probe| is(probe, "172.17.0.1") || is(probe, "172.16.0.130"),
        );
        expect(
            scene,
            "sixth-version",
            "[{from: [{ipBlock: {cidr: \"fd99:1::/32\", except: [\"fd99:1:1::/48\"]}}], ports: [{port: 80}]}, \
              {from: [{ipBlock: {cidr: \"fd99:1::8000:0/113\"}}], ports: [{port: 81}]}]",
            &probes,
            |probe| {
                probe.1.is_ipv6()
                    && ((within(probe, "fd99:1::/64") && probe.2 == 80)
                        || (within(probe, "fd99:1::8000:0/113") && probe.2 == 81))
            },
        );
        let thousands: Vec<_> = (0..2000_u32)
            .map(|n| format!("{{ipBlock: {{cidr: 172.18.{}.{}/32}}}}", n / 200, n % 200))
            .chain(["{ipBlock: {cidr: 172.16.1.7/32}}".to_owned()])
            .collect();
        expect(
            scene,
            "thousands-of-peers",
            &format!("[{{from: [{}]}}]", thousands.join(", ")),
            &probes,
            |probe| is(probe, "172.16.1.7"),
        );
        expect(
            scene,
            "everybody-of-one-family",
            "[{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]",
            &probes,
            |probe| probe.1.is_ipv4(),
        );
        expect(
            scene,
            "everybody-but-one",
            "[{from: [{ipBlock: {cidr: \"::/0\", except: [\"fd99:2::1/128\"]}}]}]",
            &probes,
            |probe| probe.1.is_ipv6() && !is(probe, "fd99:2::1"),
        );
    });
}

#[test]
fn ports_are_compared_one_by_one_however_many_there_are() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web", 10);
        let source: IpAddr = scene.address("outside", false);
        let numbers: BTreeSet<u16> = (1..=40)
            .chain([79, 80, 1022, 1023, 1024, 1025])
            .chain((0..40).flat_map(|n| [2000 + 37 * n, 2001 + 37 * n]))
            .chain([32_767, 32_768, 49_151, 65_533, 65_534, 65_535])
            .collect();
        let probes: BTreeSet<Probe> = numbers
            .iter()
            .flat_map(|port| [transport::TCP, UDP].map(|protocol| (protocol, source, *port)))
            .collect();
        let list = |ports: &str| format!("[{{ports: [{ports}]}}]");

        let many: Vec<u16> = (0..40).map(|n| 2000 + 37 * n).collect();
        let text: Vec<_> = many
            .iter()
            .map(|port| format!("{{port: {port}}}"))
            .collect();
        expect(scene, "many", &list(&text.join(", ")), &probes, |probe| {
            probe.0 == transport::TCP && many.contains(&probe.2)
        });
        expect(
            scene,
            "odd-range",
            &list("{port: 3, endPort: 1023}, {port: 32768, endPort: 65534, protocol: UDP}"),
            &probes,
            |probe| match probe.0 {
                UDP => (32_768..=65_534).contains(&probe.2),
                _ => (3..=1023).contains(&probe.2),
            },
        );
        expect(
            scene,
            "one-number",
            &list("{port: 65535, endPort: 65535}, {port: 1, protocol: UDP}"),
            &probes,
            |probe| probe.2 == if probe.0 == UDP { 1 } else { 65_535 },
        );
        expect(
            scene,
            "all-but-the-ends",
            &list("{port: 2, endPort: 65534}"),
            &probes,
            |probe| probe.0 == transport::TCP && (2..=65_534).contains(&probe.2),
        );
        expect(
            scene,
            "one-protocol",
            &list("{protocol: UDP}"),
            &probes,
            |probe| probe.0 == UDP,
        );
        expect(
            scene,
            "overlapping",
            &list("{port: 10, endPort: 30}, {port: 25, endPort: 35}, {port: 20}"),
            &probes,
            |probe| probe.0 == transport::TCP && (10..=35).contains(&probe.2),
        );
    });
}

#[test]
fn names_that_begin_alike_are_not_mistaken_for_each_other() {
    in_every_setting(&[], |scene| {
        let longest_namespace = "n".repeat(63);
        let longest_name = format!("{0}.{0}.{0}.{1}", "p".repeat(63), "p".repeat(61));
        assert_eq!(longest_name.len(), 253);
        let web = [
            ("a", "web"),
            ("a-b", "web"),
            ("a", "web.b"),
            (&longest_namespace, &longest_name),
        ];
        let mut paths = Vec::new();
        for (number, (in_namespace, name)) in (70..).zip(web) {
            let [v4, v6] = addresses(number);
            let text = pod_manifest(in_namespace, name, "app: web", &[&v4, &v6]);
            let text = format!("{text}---\n{}", namespace(in_namespace, ""));
            scene
                .cluster
                .apply(&format!("web-{number}.yaml"), &text)
                .unwrap();
            let path = format!("{in_namespace}/{name}");
            let parsed = [v4, v6].map(|text| text.parse().unwrap());
            scene.cluster.node.add_pod(&path, &parsed).unwrap();
            scene.serve(&path);
            paths.push(path);
        }
        scene.pod("a/client", "app: client", 20);
        let known = |agent: &mut Agent| {
            let mut endpoints = agent.status()?.endpoints;
            endpoints.retain(|one| one.enforced);
            let is_known =
                |path: &String| endpoints.iter().any(|one| one.pod.as_ref() == Some(path));
            Ok(paths.iter().all(is_known))
        };
        scene.cluster.agent.wait("all are enforced", known).unwrap();
        for (number, (in_namespace, _)) in web.iter().enumerate() {
            let name = "p".repeat(if number == 3 { 253 / 2 } else { 1 });
            let text = policy(in_namespace, &name, FROM_CLIENT);
            scene.cluster.apply("policy.yaml", &text).unwrap();
            for (other, path) in paths.iter().enumerate() {
                let is_selected = web[other].0 == *in_namespace;
                if is_selected {
                    scene.is_silent("outside", path);
                } else {
                    scene.passes("outside", path);
                }
                // Its namespace is `a` only: of the others it is not a pod.
                if is_selected && *in_namespace != "a" {
                    scene.is_silent("a/client", path);
                } else {
                    scene.passes("a/client", path);
                }
            }
        }
        // One pod of two whose names begin alike goes.
        scene.servers.retain(|(of, _)| of != "a/web.b");
        scene.cluster.node.remove_pod("a/web.b").unwrap();
        scene.cluster.remove("web-72.yaml").unwrap();
        scene.passes("a/client", "a/web");
        scene.passes("outside", "a/web");
    });
}

#[test]
fn a_direction_is_isolated_by_one_of_several_policies_and_empty_lists_allow_nothing() {
    in_every_setting(&[], |scene| {
        scene.pod("shop/web", "app: web, tier: back", 10);
        scene.pod("shop/client", "app: client", 20);
        let cases = [
            // policyTypes absent: ingress; an empty list allows nothing.
            ("{podSelector: {}, ingress: []}", false, true),
            // An empty rule allows everybody, and egress, with a list, is covered too.
            (
                "{podSelector: {}, ingress: [{}], egress: [{ports: [{port: 1}]}]}",
                true,
                false,
            ),
            (
                "{podSelector: {}, policyTypes: [Egress], egress: [{to: []}]}",
                true,
                true,
            ),
            // Rules of a direction that is not listed are ignored.
            (
                "{podSelector: {}, policyTypes: [Egress], ingress: []}",
                true,
                false,
            ),
            (
                "{podSelector: {matchExpressions: [{key: tier, operator: Exists}]}}",
                false,
                true,
            ),
            (
                "{podSelector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}}",
                true,
                true,
            ),
            // A missing key is not in any list.
            (
                "{podSelector: {matchExpressions: [{key: none, operator: NotIn, values: [x]}]}}",
                false,
                true,
            ),
            (
                "{podSelector: {matchExpressions: [{key: app, operator: In, values: [web, x]}]}, \
               ingress: [{from: [{ipBlock: {cidr: 192.0.2.2/32}}, {ipBlock: {cidr: \"2001:db8:ff::2/128\"}}]}]}",
                true,
                true,
            ),
        ];
        for (spec, inwards, outwards) in cases {
            eprintln!("{spec}");
            scene.policy("case", spec);
            for (from, to, passes) in [
                ("outside", "shop/web", inwards),
                ("shop/web", "outside", outwards),
            ] {
                if passes {
                    scene.passes(from, to);
                } else {
                    scene.is_silent(from, to);
                }
            }
            scene.remove_policy("case");
            scene.passes("outside", "shop/web");
        }
        scene.policy(
            "free",
            "{podSelector: {matchLabels: {tier: back}}, ingress: [{}]}",
        );
        scene.passes("outside", "shop/web");
        scene.policy(
            "one",
            "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}",
        );
        scene.passes("outside", "shop/web");
        scene.remove_policy("free");
        scene.is_silent("outside", "shop/web");
    });
}
