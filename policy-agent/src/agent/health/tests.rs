//! What clients get, whatever they and others do.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    time::Instant,
};

use futures_util::FutureExt as _;

use super::*;
use crate::{
    agent::{Snapshot, metrics::Measured},
    datapath::PinDir,
    source::Contact,
};

/// How long anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn metrics(published: &Published) -> Metrics {
    let nowhere = PinDir::new(std::path::Path::new("/nonexistent"));
    Metrics::new(published.clone(), Measured::default(), nowhere)
}

/// A server that gives its clients so long.
fn server(published: &Published, patience: Duration) -> SocketAddr {
    serving(metrics(published), patience)
}

fn serving(metrics: Metrics, patience: Duration) -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            serve(listener, metrics, patience).await;
        });
    });
    address
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// Status and text; nothing from a server that turns the client away.
fn ask(address: SocketAddr, request: &str) -> Option<(u16, String)> {
    let mut stream = connect(address);
    write!(stream, "{request} HTTP/1.1\r\nHost: node\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

fn enforcing() -> Published {
    let published = Published::new(Contact::default());
    let mut snapshot = Snapshot::default();
    snapshot.agent.enforcing = true;
    published.publish(snapshot);
    published
}

#[test]
fn ready_is_who_enforces_and_alive_is_whose_loop_turns() {
    let published = Published::new(Contact::default());
    let address = server(&published, SOON);
    let mut snapshot = Snapshot::default();
    snapshot.agent.state = "attaching programs".into();
    published.publish(snapshot.clone());
    let (status, text) = ask(address, "GET /readyz").unwrap();
    assert_eq!(
        (status, &*text),
        (503, "not ready\nthe agent is attaching programs\n")
    );
    assert_eq!(ask(address, "GET /healthz").unwrap().0, 200);

    snapshot.agent.enforcing = true;
    snapshot.refused = vec!["a name\u{1b}[2J".into()];
    published.publish(snapshot);
    let (status, text) = ask(address, "GET /readyz").unwrap();
    assert!(
        status == 200 && text.starts_with("ready\nrefused: "),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn other_paths_and_methods_are_told_so() {
    let address = server(&enforcing(), SOON);
    assert_eq!(ask(address, "GET /").unwrap().0, 404);
    assert_eq!(ask(address, "POST /readyz").unwrap().0, 405);
    assert_eq!(ask(address, "HEAD /readyz").unwrap(), (200, String::new()));
    assert_eq!(ask(address, "GET /readyz?verbose").unwrap().0, 200);
    assert_eq!(ask(address, "nonsense").unwrap().0, 400);
}

#[test]
fn clients_that_say_nothing_keep_nobody_from_an_answer() {
    // They would stay for as long as they are let.
    let address = server(&enforcing(), 10 * SOON);
    for _ in 0..3 {
        let mut silent: Vec<_> = (0..3 * MOST_CLIENTS).map(|_| connect(address)).collect();
        // One in the middle of its request is no better.
        let last = silent.last_mut().unwrap();
        write!(last, "GET /readyz HTTP/1.1\r\nHost:").unwrap();
        for _ in 0..4 {
            assert_eq!(ask(address, "GET /healthz").unwrap().0, 200);
        }
        let gone = silent.first_mut().unwrap().read(&mut [0]);
        assert!(matches!(gone, Ok(0) | Err(_)), "the oldest makes room");
    }
}

#[test]
fn clients_without_end_keep_nobody_from_an_answer() {
    let address = server(&enforcing(), 10 * SOON);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut held = VecDeque::new();
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    held.push_back(TcpStream::connect(address).unwrap());
                    if held.len() > 64 {
                        held.pop_front();
                    }
                }
            });
        }
        // Who asks at once is answered, most of the time at least: a kubelet asks again.
        let answered = (0..20).filter(|_| ask(address, "GET /healthz").is_some());
        let answered = answered.count();
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(answered >= 10, "{answered} of 20");
    });
}

#[test]
fn a_client_that_says_nothing_is_let_go_in_the_end() {
    let address = server(&enforcing(), Duration::from_millis(200));
    let mut silent = connect(address);
    // It was closed: at once, or after an answer that says why.
    let _ = silent.read_to_end(&mut Vec::new());
}

#[test]
fn an_address_is_had_when_the_process_before_lets_go_of_it() {
    let before = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = before.local_addr().unwrap();
    listen(address, metrics(&enforcing())).unwrap();
    drop(before);
    let began = Instant::now();
    loop {
        if let Ok(stream) = TcpStream::connect(address) {
            drop(stream);
            assert_eq!(ask(address, "GET /readyz").unwrap().0, 200);
            break;
        }
        assert!(began.elapsed() < SOON);
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn metrics_are_scraped_with_get_and_end_as_open_metrics_do() {
    let address = server(&enforcing(), SOON);
    let (status, text) = ask(address, "GET /metrics").unwrap();
    assert_eq!(status, 200);
    assert!(
        text.contains("policy_agent_ready 1.0\n") && text.ends_with("# EOF\n"),
        "{text}"
    );
    assert_eq!(ask(address, "POST /metrics").unwrap().0, 405);
}

#[test]
fn one_scrape_is_made_at_a_time_and_who_leaves_waits_for_none() {
    let metrics = metrics(&enforcing());
    let address = serving(metrics.clone(), SOON);
    let turn = metrics.turn().now_or_never().flatten();
    assert!(turn.is_some());
    for _ in 0..2 * MOST_CLIENTS {
        let mut stream = connect(address);
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n").unwrap();
    }
    // While somebody scrapes, probes are answered and further scrapes wait.
    assert_eq!(ask(address, "GET /healthz").unwrap().0, 200);
    let mut waiting = TcpStream::connect(address).unwrap();
    waiting
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    write!(waiting, "GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n").unwrap();
    assert!(waiting.read(&mut [0]).is_err());
    drop((turn, waiting));
    assert_eq!(ask(address, "GET /metrics").unwrap().0, 200);
}
