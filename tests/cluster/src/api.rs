//! Questions to the server, one at a time.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use http::{Method, Request, header};
// Compiled for one version of the API, as its maker demands; no type of it is used.
use k8s_openapi as _;
use kube_client::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;
use tokio::runtime::Runtime;

/// Who asks.
pub struct Api {
    runtime: Runtime,
    client: Client,
}

impl Api {
    /// As a kubeconfig says.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(kubeconfig: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let client = runtime.block_on(async {
            let file = Kubeconfig::read_from(kubeconfig)?;
            let options = KubeConfigOptions::default();
            let mut config = Config::from_custom_kubeconfig(file, &options).await?;
            config.default_retry = false;
            anyhow::Ok(Client::try_from(config)?)
        })?;
        Ok(Self { runtime, client })
    }

    /// Whether the server says that it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let answer = self.ask(Method::GET, "/readyz", None);
        answer.is_ok_and(|(status, _)| status == 200)
    }

    /// Asks; the status, and what the answer says.
    ///
    /// # Errors
    /// There is no answer.
    pub fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let content = if method == Method::PATCH {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let bytes = body.map(ToString::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, content)
            .body(Body::from(bytes.into_bytes()))?;
        self.runtime.block_on(async {
            let response = self.client.send(request).await?;
            let status = response.status().as_u16();
            let bytes = response.into_body().collect_bytes().await?;
            Ok((
                status,
                serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            ))
        })
    }

    /// Asks; an error when the server refuses.
    ///
    /// # Errors
    /// There is no answer, or another than 200 or 201.
    pub fn must(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let said = format!("{method} {path}");
        let (status, answer) = self.ask(method, path, body).context(said.clone())?;
        if !matches!(status, 200 | 201) {
            bail!("{said}: {status}: {}", answer["message"]);
        }
        Ok(answer)
    }
}
