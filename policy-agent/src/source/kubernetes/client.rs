//! Connections to an API server: whose, with which credentials, and how a dead one is noticed.

use std::{sync::Arc, time::Duration};

use http::{Request, header};
use hyper_util::{
    client::legacy::{Client as Transport, connect::HttpConnector},
    rt::TokioExecutor,
};
// Compiled for one version of the API, as its maker demands; no type of it is used.
use k8s_openapi as _;
use kube_client::{
    Client,
    client::{Body, ClientBuilder, ConfigExt as _},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::OnceCell;
use tower::{BoxError, ServiceExt as _};

use super::{Access, Trouble, answer::Answer};
use crate::source::contact::Listening;

/// A connection over which nothing is acknowledged for so long is dead.
const DEAD: Duration = Duration::from_secs(20);
/// A connection that is idle is tried after so long, and again so often.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_AGAIN: Duration = Duration::from_secs(5);
const KEEPALIVE_TRIES: u32 = 3;
/// A server that cannot be reached for so long is not there.
const CONNECT: Duration = Duration::from_secs(10);

/// What a server says of its version is not longer.
const LONGEST_VERSION: usize = 64 << 10;

/// Connections to one server, as its configuration was when they were opened.
#[derive(Clone)]
pub(super) struct Connection {
    client: Client,
    server: String,
    compression: bool,
    /// Whether its lists come from etcd unless any version is asked for; not known before it was asked.
    is_old: Arc<OnceCell<bool>>,
}

/// From this minor version of Kubernetes on, lists of the most recent state come from a server's cache.
const CONSISTENT: u32 = 31;

/// What a server says of itself.
#[derive(Deserialize)]
struct Version {
    major: String,
    minor: String,
}

impl Connection {
    /// Reads the configuration; connects to nobody yet.
    pub(super) async fn open(access: &Access) -> Result<Self, Trouble> {
        let config = access.config().await?;
        if config.proxy_url.is_some() {
            tracing::warn!("proxies are not used: the API server is asked directly");
        }
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_keepalive(Some(KEEPALIVE));
        connector.set_keepalive_interval(Some(KEEPALIVE_AGAIN));
        connector.set_keepalive_retries(Some(KEEPALIVE_TRIES));
        connector.set_tcp_user_timeout(Some(DEAD));
        let connector = config
            .rustls_https_connector_with_connector(connector)
            .map_err(Trouble::access)?;
        let transport: Transport<_, Body> =
            Transport::builder(TokioExecutor::new()).build(connector);
        let transport = transport.map_err(BoxError::from);
        let extra = config.extra_headers_layer().map_err(Trouble::access)?;
        let builder = ClientBuilder::new(transport, config.default_namespace.clone())
            .with_layer(&extra)
            .with_layer(&config.base_uri_layer());
        let client = match config.auth_layer().map_err(Trouble::access)? {
            Some(auth) => builder.with_layer(&auth).build(),
            None => builder.build(),
        };
        Ok(Self {
            client,
            server: config.cluster_url.to_string(),
            compression: !config.disable_compression,
            is_old: Arc::default(),
        })
    }

    /// The server's address.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Whether a list of the most recent state is a burden on etcd. One that does not say how old it is
    /// is not old.
    pub(super) async fn is_old(
        &self,
        patience: Duration,
        listening: &Listening,
    ) -> Result<bool, Trouble> {
        let ask = async {
            let mut answer = match self.get("/version", false, patience, listening).await {
                Ok(answer) => answer,
                Err(Trouble::Status { .. }) => return Ok(false),
                Err(trouble) => return Err(trouble),
            };
            let mut text = Vec::new();
            while let Some(bytes) = answer.next().await? {
                if text.len() + bytes.len() > LONGEST_VERSION {
                    return Ok(false);
                }
                text.extend_from_slice(&bytes);
            }
            Ok(serde_json::from_slice(&text).is_ok_and(|version: Version| version.is_old()))
        };
        let asked = tokio::time::timeout(patience, self.is_old.get_or_try_init(|| ask)).await;
        Ok(*asked.map_err(|_| Trouble::Silent(patience))??)
    }

    /// Whether it is known that lists may be what the server remembers.
    pub(super) fn remembers(&self) -> bool {
        self.is_old.get() == Some(&true)
    }

    /// Makes an object; an answer of no success is trouble.
    pub(super) async fn post(
        &self,
        path: &str,
        object: &Value,
        patience: Duration,
        listening: &Listening,
    ) -> Result<(), Trouble> {
        let request = Request::post(path)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(object.to_string().into_bytes()))
            .map_err(Trouble::access)?;
        self.send(request, patience, listening).await.map(drop)
    }

    /// Asks; an answer of no success is trouble.
    pub(super) async fn get(
        &self,
        question: &str,
        compressed: bool,
        patience: Duration,
        listening: &Listening,
    ) -> Result<Answer, Trouble> {
        let mut request = Request::get(question).header(header::ACCEPT, "application/json");
        if compressed && self.compression {
            request = request.header(header::ACCEPT_ENCODING, "gzip");
        }
        let request = request.body(Body::empty()).map_err(Trouble::access)?;
        self.send(request, patience, listening).await
    }

    async fn send(
        &self,
        request: Request<Body>,
        patience: Duration,
        listening: &Listening,
    ) -> Result<Answer, Trouble> {
        listening.asked();
        let response = tokio::time::timeout(patience, self.client.send(request))
            .await
            .map_err(|_| Trouble::Silent(patience))?
            .map_err(Trouble::connection)?;
        Answer::of(response, patience, listening).await
    }
}

impl Version {
    /// Providers write `30+`.
    fn is_old(&self) -> bool {
        let minor = self
            .minor
            .trim_end_matches(|other: char| !other.is_ascii_digit());
        self.major == "1" && minor.parse().is_ok_and(|minor: u32| minor < CONSISTENT)
    }
}

impl Trouble {
    pub(super) fn access(error: impl std::error::Error) -> Self {
        Self::Access(causes(&error))
    }

    pub(super) fn connection(error: impl std::error::Error) -> Self {
        Self::Connection(causes(&error))
    }
}

/// An error with its causes, on one line; a cause that its effect repeats is said once.
fn causes(error: &dyn std::error::Error) -> String {
    let mut line = String::new();
    for cause in std::iter::successors(Some(error), |error| error.source()) {
        let text = cause.to_string();
        if !line.contains(&text) {
            let colon = if line.is_empty() { "" } else { ": " };
            line.push_str(colon);
            line.push_str(&text);
        }
    }
    line
}
