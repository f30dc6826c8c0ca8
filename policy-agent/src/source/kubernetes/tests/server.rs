//! A server that speaks like an API server, and does what it is told with one kind: a test answers
//! every question about policies (or nodes) by hand; the other kinds are as the test says from the start, and
//! nothing happens to them.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

/// How long anything may take on a busy machine.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

const POLICIES: &str = "/apis/networking.k8s.io/v1/networkpolicies";
const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/pods";
const EVENTS: &str = "/apis/events.k8s.io/";

/// The server.
pub(super) struct Server {
    port: u16,
    questions: mpsc::UnboundedReceiver<Question>,
    /// Events that somebody made, where they were made.
    pub(super) events: mpsc::UnboundedReceiver<(String, Value)>,
}

/// The minor version of a server that is older than consistent lists from its cache.
pub(super) const OLD: &str = "30+";
const NEW: &str = "37";

/// What a server has and is.
#[derive(Clone)]
struct World {
    minor: &'static str,
    /// Questions about this kind are answered by hand.
    by_hand: &'static str,
    pods: Vec<Value>,
    /// Which statuses attempts to make events have, one after the other; then 201.
    refusals: &'static [u16],
}

/// A question about the kind that is answered by hand, and where its answer goes.
pub(super) struct Question {
    /// What follows the path.
    pub(super) query: String,
    /// The lines of its head.
    pub(super) head: String,
    path: String,
    stream: TcpStream,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::of_version(NEW).await
    }

    pub(super) async fn of_version(minor: &'static str) -> Self {
        Self::of(World {
            minor,
            by_hand: POLICIES,
            pods: Vec::new(),
            refusals: &[],
        })
        .await
    }

    /// One that does not take the first events.
    pub(super) async fn refusing_events(refusals: &'static [u16]) -> Self {
        Self::of(World {
            minor: NEW,
            by_hand: POLICIES,
            pods: Vec::new(),
            refusals,
        })
        .await
    }

    /// One that is asked about nodes, and has these pods and no policy.
    pub(super) async fn of_nodes(pods: Vec<Value>) -> Self {
        Self::of(World {
            minor: NEW,
            by_hand: NODES,
            pods,
            refusals: &[],
        })
        .await
    }

    async fn of(world: World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, questions) = mpsc::unbounded_channel();
        let (made, events) = mpsc::unbounded_channel();
        let tried = Arc::new(AtomicUsize::new(0));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, world) = (sender.clone(), world.clone());
                let (made, tried) = (made.clone(), Arc::clone(&tried));
                tokio::spawn(async move {
                    // Whoever asks may go away.
                    let Ok(question) = Question::read(stream).await else {
                        return;
                    };
                    if question.path.starts_with(EVENTS) {
                        let number = tried.fetch_add(1, Ordering::Relaxed);
                        let refusal = world.refusals.get(number).copied();
                        let _ = question.make(made, refusal).await;
                    } else {
                        let _ = serve(question, sender, &world).await;
                    }
                });
            }
        });
        Self {
            port,
            questions,
            events,
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// How to reach it, with a token.
    pub(super) fn kubeconfig(&self, token: &str) -> NamedTempFile {
        let file = NamedTempFile::new().unwrap();
        self.rewrite(&file, token);
        file
    }

    pub(super) fn rewrite(&self, file: &NamedTempFile, token: &str) {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "a", "cluster": {"server": format!("http://127.0.0.1:{}", self.port)}}],
            "users": [{"name": "a", "user": {"token": token}}],
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "current-context": "a",
        });
        std::fs::write(file.path(), config.to_string()).unwrap();
    }

    /// The next question that is answered by hand.
    pub(super) async fn next(&mut self) -> Question {
        let next = timeout(DEADLINE, self.questions.recv()).await;
        next.expect("nothing is asked").expect("the server runs")
    }

    /// The next question, which must be for a whole list.
    pub(super) async fn next_list(&mut self) -> Question {
        let question = self.next().await;
        assert!(question.is_list(), "{}", question.query);
        question
    }

    /// The next question, which must be for a watch from this version.
    pub(super) async fn next_watch(&mut self, version: &str) -> Question {
        let question = self.next().await;
        let from = format!("resourceVersion={version}");
        let is_from = question.query.split('&').any(|part| part == from);
        assert!(question.is_watch() && is_from, "{}", question.query);
        // None comes without the flag.
        assert!(question.query.contains("&allowWatchBookmarks=true&"));
        question
    }

    /// The next question, which must be where the server is.
    pub(super) async fn next_probe(&mut self) -> Question {
        let question = self.next().await;
        assert!(question.is_probe(), "{}", question.query);
        question
    }

    /// Whether nothing is asked for a while.
    pub(super) async fn is_quiet(&mut self, time: Duration) -> bool {
        timeout(time, self.questions.recv()).await.is_err()
    }
}

impl Question {
    async fn read(mut stream: TcpStream) -> io::Result<Self> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let target = head.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Ok(Self {
            path: path.to_owned(),
            query: query.to_owned(),
            head,
            stream,
        })
    }

    /// Takes an object that is to be made, or not.
    async fn make(
        mut self,
        made: mpsc::UnboundedSender<(String, Value)>,
        refusal: Option<u16>,
    ) -> io::Result<()> {
        let head = self.head.to_lowercase();
        let (_, length) = head.split_once("content-length: ").unwrap();
        let length = length.split("\r\n").next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        let object = serde_json::from_slice(&body).unwrap();
        let _ = made.send((self.path.clone(), object));
        self.refuse(refusal.unwrap_or(201), "").await;
        Ok(())
    }

    pub(super) fn is_watch(&self) -> bool {
        self.query.contains("watch=true")
    }

    pub(super) fn is_probe(&self) -> bool {
        self.query == "limit=1"
    }

    pub(super) fn is_list(&self) -> bool {
        !self.is_watch() && !self.is_probe()
    }

    /// A complete list.
    pub(super) async fn list(self, version: &str, items: &[Value]) {
        let answer = self.begin().await;
        answer.whole(&list(version, "", items).to_string()).await;
    }

    /// Begins an answer of status 200.
    pub(super) async fn begin(self) -> Answer {
        self.begin_with("").await
    }

    /// The same, with more lines of head.
    pub(super) async fn begin_with(mut self, lines: &str) -> Answer {
        // Whoever asked may have gone.
        let _ = head(&mut self.stream, "200 OK", lines).await;
        Answer(self.stream)
    }

    /// An answer of another status.
    pub(super) async fn refuse(mut self, code: u16, lines: &str) {
        let status = format!("{code} Status");
        let _ = head(&mut self.stream, &status, lines).await;
        let said = json!({"kind": "Status", "code": code, "message": format!("no: {code}")});
        Answer(self.stream).whole(&said.to_string()).await;
    }
}

/// An answer that has begun. Dropping it breaks it off.
pub(super) struct Answer(TcpStream);

impl Answer {
    /// Some of it.
    pub(super) async fn part(&mut self, bytes: &[u8]) {
        // Whoever asked may have gone.
        let _ = chunk(&mut self.0, bytes).await;
    }

    /// An event of a watch.
    pub(super) async fn event(&mut self, kind: &str, object: &Value) {
        let line = format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n");
        self.part(line.as_bytes()).await;
    }

    /// The end, as it should be.
    pub(super) async fn end(mut self) {
        let _ = self.0.write_all(b"0\r\n\r\n").await;
    }

    async fn whole(mut self, text: &str) {
        self.part(text.as_bytes()).await;
        self.end().await;
    }
}

/// A list as a server writes it: items do not say what they are.
pub(super) fn list(version: &str, next: &str, items: &[Value]) -> Value {
    let mut metadata = json!({"resourceVersion": version});
    if !next.is_empty() {
        metadata["continue"] = next.into();
    }
    json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items})
}

/// A policy of namespace x; different `ports` tell versions apart.
pub(super) fn policy(name: &str, version: &str, port: u16) -> Value {
    json!({
        "metadata": {"namespace": "x", "name": name, "resourceVersion": version},
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"port": port}]}],
        },
    })
}

async fn head(stream: &mut TcpStream, status: &str, lines: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n{lines}\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await
}

async fn chunk(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    stream.write_all(&chunk).await
}

async fn serve(
    question: Question,
    questions: mpsc::UnboundedSender<Question>,
    world: &World,
) -> io::Result<()> {
    let path = question.path.as_str();
    if path == "/version" {
        let said = json!({"major": "1", "minor": world.minor}).to_string();
        question.begin().await.whole(&said).await;
    } else if path == world.by_hand {
        let _ = questions.send(question);
    } else if question.is_watch() {
        // Open, and silent, until whoever asked goes away.
        let mut answer = question.begin().await;
        let _ = answer.0.read_u8().await;
    } else if path == PODS {
        question.list("1", &world.pods).await;
    } else {
        question.list("1", &[]).await;
    }
    Ok(())
}
