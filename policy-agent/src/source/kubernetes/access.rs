//! How to reach an API server: where it is, who it must be, and as whom it is asked.

use std::{
    env,
    net::IpAddr,
    path::{Path, PathBuf},
};

use kube_client::{
    Config,
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
};

use super::Trouble;

/// Where a pod finds what its service account is.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// What tells every pod where the server is.
const HOST: &str = "KUBERNETES_SERVICE_HOST";
const PORT: &str = "KUBERNETES_SERVICE_PORT";

/// How to reach an API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// As the pod in which the process runs may.
    InCluster,
    /// As a service account, whose `token` and the server's `ca.crt` are in a directory; both are read
    /// again when they change.
    ServiceAccount {
        /// The server: a URL.
        server: String,
        /// The directory.
        directory: PathBuf,
    },
    /// As a file says.
    Kubeconfig(PathBuf),
}

impl Access {
    /// Reads all of it.
    pub(super) async fn config(&self) -> Result<Config, Trouble> {
        match self {
            Self::InCluster => service_account(&server()?, SERVICE_ACCOUNT.as_ref()),
            Self::ServiceAccount { server, directory } => service_account(server, directory),
            Self::Kubeconfig(path) => {
                let file = Kubeconfig::read_from(path).map_err(Trouble::access)?;
                let options = KubeConfigOptions::default();
                let config = Config::from_custom_kubeconfig(file, &options).await;
                let mut config = config.map_err(Trouble::access)?;
                if config.accept_invalid_certs {
                    tracing::warn!(
                        "insecure-skip-tls-verify: whoever answers is taken for the API server"
                    );
                    // Else the system's authorities are loaded, which are not asked and may not be there.
                    config.root_cert.get_or_insert_default();
                }
                Ok(config)
            }
        }
    }
}

fn server() -> Result<String, Trouble> {
    let variable = |name: &str| {
        env::var(name).map_err(|_| Trouble::Access(format!("{name} is not set: this is no pod")))
    };
    Ok(url(&variable(HOST)?, &variable(PORT)?))
}

fn url(host: &str, port: &str) -> String {
    match host.parse() {
        Ok(IpAddr::V6(address)) => format!("https://[{address}]:{port}"),
        _ => format!("https://{host}:{port}"),
    }
}

fn service_account(server: &str, directory: &Path) -> Result<Config, Trouble> {
    let token = directory.join("token");
    let authority = directory.join("ca.crt");
    for file in [&token, &authority] {
        // Said here by its name, and not later by a server's refusal.
        std::fs::File::open(file)
            .map_err(|error| Trouble::Access(format!("{}: {error}", file.display())))?;
    }
    let mut config = Config::new(server.parse().map_err(Trouble::access)?);
    // Nobody is trusted but whom the file says: it is read for every verification of a minute.
    config.root_cert = Some(Vec::new());
    config.root_cert_file = Some(authority);
    config.auth_info = AuthInfo {
        token_file: Some(token.display().to_string()),
        ..AuthInfo::default()
    };
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_one_url_whatever_its_address_is() {
        assert_eq!(url("10.96.0.1", "443"), "https://10.96.0.1:443");
        assert_eq!(url("fd00::1", "6443"), "https://[fd00::1]:6443");
        assert_eq!(url("api.example", "443"), "https://api.example:443");
    }

    #[tokio::test]
    async fn where_no_certificate_counts_the_system_needs_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for is_verified in [false, true] {
            let config = serde_json::json!({
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "a", "cluster": {
                    "server": "https://127.0.0.1:1", "insecure-skip-tls-verify": !is_verified,
                }}],
                "users": [{"name": "a", "user": {"token": "t"}}],
                "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
                "current-context": "a",
            });
            std::fs::write(file.path(), config.to_string()).unwrap();
            let access = Access::Kubeconfig(file.path().to_owned());
            let roots = access.config().await.unwrap().root_cert;
            assert_eq!(roots, (!is_verified).then(Vec::new));
        }
    }

    #[test]
    fn a_service_account_without_its_files_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let refused = service_account("https://[::1]:1", directory.path()).unwrap_err();
        assert!(refused.to_string().contains("token"), "{refused}");
        std::fs::write(directory.path().join("token"), "t").unwrap();
        let refused = service_account("https://[::1]:1", directory.path()).unwrap_err();
        assert!(refused.to_string().contains("ca.crt"), "{refused}");
    }
}
