//! What each server is told.

use super::ControlPlane;
use crate::network;

/// An address of a server that has no nodes, for others, of whom there are none. RFC 5737.
const ADVERTISED: &str = "192.0.2.1";
/// Services of one family, and of both.
const SERVICES: &str = "10.96.0.0/16";
pub(crate) const BOTH_SERVICES: &str = "10.96.0.0/16,fd10:96::/112";
/// Requests a second, and at once: with what these clients may otherwise ask, a cluster begins in 6 s
/// instead of 2.
const CLIENT: [&str; 2] = ["--kube-api-qps=500", "--kube-api-burst=1000"];

impl ControlPlane {
    pub(super) fn etcd_arguments(&self) -> Vec<String> {
        let (etcd, peer) = (self.ports.etcd, self.ports.peer);
        let data = self.directory.join("etcd.d");
        [
            "--name=lab".to_owned(),
            format!("--data-dir={}", data.display()),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
            "--quota-backend-bytes=4294967296".to_owned(),
            format!("--listen-client-urls=http://127.0.0.1:{etcd}"),
            format!("--advertise-client-urls=http://127.0.0.1:{etcd}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-cluster=lab=http://127.0.0.1:{peer}"),
        ]
        .into()
    }

    pub(super) fn server_arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = vec![
            format!("--secure-port={}", self.ports.server),
            format!("--etcd-servers=http://127.0.0.1:{}", self.ports.etcd),
            "--allow-privileged=true".to_owned(),
            format!("--cert-dir={}", self.file("pki")),
            format!("--token-auth-file={}", self.file("tokens.csv")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", self.file("sa.pub")),
            format!("--service-account-signing-key-file={}", self.file("sa.key")),
        ];
        if self.namespace.is_some() {
            arguments.extend([
                "--bind-address=0.0.0.0".to_owned(),
                format!("--advertise-address={}", network::GATEWAY),
                format!("--service-cluster-ip-range={BOTH_SERVICES}"),
                "--authorization-mode=Node,RBAC".to_owned(),
                "--enable-admission-plugins=NodeRestriction".to_owned(),
                // Names of nodes lead nowhere.
                "--kubelet-preferred-address-types=InternalIP".to_owned(),
            ]);
        } else {
            arguments.extend([
                "--bind-address=127.0.0.1".to_owned(),
                format!("--advertise-address={ADVERTISED}"),
                format!("--service-cluster-ip-range={SERVICES}"),
                "--authorization-mode=RBAC".to_owned(),
                // Without controllers nobody makes service accounts: pods are admitted without.
                "--disable-admission-plugins=ServiceAccount".to_owned(),
            ]);
        }
        arguments
    }

    pub(super) fn manager_arguments(&self) -> Vec<String> {
        let mut arguments = self.client_arguments();
        arguments.extend([
            "--bind-address=127.0.0.1".to_owned(),
            format!("--service-account-private-key-file={}", self.file("sa.key")),
            format!("--root-ca-file={}", self.authority().display()),
            "--allocate-node-cidrs".to_owned(),
            format!("--cluster-cidr={}", network::PODS.join(",")),
            "--node-cidr-mask-size-ipv4=24".to_owned(),
            "--node-cidr-mask-size-ipv6=64".to_owned(),
            format!("--service-cluster-ip-range={BOTH_SERVICES}"),
        ]);
        arguments
    }

    pub(super) fn scheduler_arguments(&self) -> Vec<String> {
        let mut arguments = self.client_arguments();
        arguments.push("--bind-address=127.0.0.1".to_owned());
        arguments
    }

    fn client_arguments(&self) -> Vec<String> {
        let kubeconfig = self.kubeconfig().display().to_string();
        let mut arguments: Vec<String> = ["", "authentication-", "authorization-"]
            .map(|whose| format!("--{whose}kubeconfig={kubeconfig}"))
            .into();
        arguments.extend(CLIENT.map(str::to_owned));
        arguments.push("--leader-elect=false".to_owned());
        arguments
    }

    fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }
}
