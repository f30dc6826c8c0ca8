//! `/healthz` and `/readyz`, what the probes of a kubelet ask, and `/metrics`, over HTTP on a loopback address.
//!
//! Owns a thread that answers from what was published last. Invariants: nobody who asks holds up the
//! loop, or others who ask; asking changes nothing. Any process of the node may connect: who has said
//! nothing the longest makes room for who comes.

use std::{
    collections::VecDeque, convert::Infallible, fmt::Write as _, net::SocketAddr, thread,
    time::Duration,
};

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{AgentError, metrics::Metrics, status::Published};
use crate::text::Printable;

/// How long a client may take for everything: it is a process of this node.
const PATIENCE: Duration = Duration::from_secs(2);
/// Clients that are served at a time; the next one takes the place of the oldest.
const MOST_CLIENTS: usize = 16;
/// The pause after an address could not be had, or a client not be accepted.
const PAUSE: Duration = Duration::from_millis(200);
/// What a client may say.
const LONGEST: usize = 8 << 10;

/// Answers on an address until the process ends. While another process has it – the agent before, that
/// ends – it is tried again.
///
/// # Errors
/// No thread can be started.
pub(super) fn listen(address: SocketAddr, metrics: Metrics) -> Result<(), AgentError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AgentError::Thread)?;
    thread::Builder::new()
        .name("health".into())
        .spawn(move || {
            runtime.block_on(async {
                let listener = bind(address).await;
                tracing::info!(%address, "answering /healthz, /readyz and /metrics");
                serve(listener, metrics, PATIENCE).await;
            });
        })
        .map_err(AgentError::Thread)?;
    Ok(())
}

async fn bind(address: SocketAddr) -> TcpListener {
    let mut is_said = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) if !is_said => {
                is_said = true;
                tracing::warn!(%address, "/healthz and /readyz cannot be answered yet: {error}");
            }
            Err(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn serve(listener: TcpListener, metrics: Metrics, patience: Duration) {
    let mut clients: VecDeque<JoinHandle<()>> = VecDeque::with_capacity(MOST_CLIENTS);
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        clients.retain(|client| !client.is_finished());
        if clients.len() >= MOST_CLIENTS
            && let Some(oldest) = clients.pop_front()
        {
            oldest.abort();
        }
        let metrics = metrics.clone();
        clients.push_back(tokio::spawn(async move {
            // A client that went away, or does not go on, concerns nobody else.
            drop(tokio::time::timeout(patience, converse(client, metrics)).await);
        }));
        // However fast others come, who has asked already is answered before one of them is let in.
        tokio::task::yield_now().await;
    }
}

async fn converse(client: TcpStream, metrics: Metrics) -> Result<(), hyper::Error> {
    let service = service_fn(|request: Request<Incoming>| {
        let metrics = metrics.clone();
        async move {
            let (method, path) = (request.method(), request.uri().path());
            Ok::<_, Infallible>(match (method, path) {
                (&Method::GET, "/metrics") => scraped(metrics).await,
                _ => answer(method, path, metrics.published()),
            })
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_buf_size(LONGEST)
        .serve_connection(TokioIo::new(client), service)
        .await
}

fn answer(method: &Method, path: &str, published: &Published) -> Response<Full<Bytes>> {
    let (status, text) = match (method, path) {
        (&Method::GET | &Method::HEAD, "/healthz") => healthy(published),
        (&Method::GET | &Method::HEAD, "/readyz") => ready(published),
        (_, "/healthz" | "/readyz" | "/metrics") => {
            (StatusCode::METHOD_NOT_ALLOWED, "ask with GET\n".into())
        }
        _ => (
            StatusCode::NOT_FOUND,
            "there are /healthz, /readyz and /metrics\n".into(),
        ),
    };
    response(status, text, "text/plain; charset=utf-8")
}

fn response(status: StatusCode, text: String, kind: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// On a thread of its own: maps are read, which takes longer the more flows there are. One at a time, also
/// where clients go away before they have their answer.
async fn scraped(metrics: Metrics) -> Response<Full<Bytes>> {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let turn = metrics.turn().await;
    let scrape = move || {
        let text = metrics.scrape();
        drop(turn);
        text
    };
    match tokio::task::spawn_blocking(scrape).await {
        Ok(text) => response(StatusCode::OK, text, OPEN_METRICS),
        Err(_) => response(
            StatusCode::INTERNAL_SERVER_ERROR,
            String::new(),
            OPEN_METRICS,
        ),
    }
}

fn healthy(published: &Published) -> (StatusCode, String) {
    let snapshot = published.get();
    match snapshot.stale() {
        Some(stale) if snapshot.is_stuck() => (StatusCode::SERVICE_UNAVAILABLE, stale + "\n"),
        _ => (StatusCode::OK, "ok\n".into()),
    }
}

fn ready(published: &Published) -> (StatusCode, String) {
    let snapshot = published.get();
    let hindrances = snapshot.hindrances();
    let (status, mut text) = if hindrances.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned())
    };
    for line in hindrances.iter().chain(&snapshot.remarks()) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", Printable(line));
    }
    (status, text)
}

#[cfg(test)]
mod tests;
