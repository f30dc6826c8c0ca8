//! Connections to an API server: whose, with which credentials, and how a dead one is noticed.

use std::time::Duration;

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

/// Connections to one server, as its configuration was when they were opened.
#[derive(Clone)]
pub(super) struct Connection {
    client: Client,
    server: String,
    compression: bool,
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
        })
    }

    /// The server's address.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Asks; an answer of another status than 200 is trouble.
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
        listening.asked();
        let response = tokio::time::timeout(patience, self.client.send(request))
            .await
            .map_err(|_| Trouble::Silent(patience))?
            .map_err(Trouble::connection)?;
        Answer::of(response, patience, listening).await
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
