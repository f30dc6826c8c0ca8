//! Manifests that the tests of the commands ask about.

/// Pods of every sort, and an object that is refused.
pub(super) const SHOP: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {containers: [{name: main, image: none, ports: [{name: http, containerPort: 80}]}]}
status: {phase: Running, podIPs: [{ip: 10.1.0.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop, labels: {app: client}}
spec: {containers: [{name: main, image: none}]}
status: {phase: Running, podIPs: [{ip: 10.1.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: other, namespace: shop, labels: {app: other}}
spec: {containers: [{name: main, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: both, namespace: shop, labels: {app: both}}
spec: {containers: [{name: main, image: none}]}
status: {phase: Running, podIPs: [{ip: 192.0.2.20}, {ip: "fd00::20"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: dual, namespace: shop, labels: {app: dual}}
spec: {containers: [{name: main, image: none}]}
status: {phase: Running, podIPs: [{ip: 192.0.2.21}, {ip: "fd00::21"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: agent, namespace: shop}
spec: {hostNetwork: true, containers: [{name: main, image: none}]}
status: {phase: Running, podIPs: [{ip: 10.9.0.1}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec:
  podSelector: {matchExpressions: [{key: app, operator: In, values: [web, dual]}]}
  policyTypes: [Ingress, Egress]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: client}}}]
    ports: [{port: http}, {port: 8000, endPort: 8010}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: dual, namespace: shop}
spec:
  podSelector: {matchLabels: {app: dual}}
  ingress:
  - from: [{ipBlock: {cidr: 192.0.2.0/24}}]
    ports: [{port: 53, protocol: UDP}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: broken, namespace: shop}
spec: {podSelectr: {}}
"#;
