//! What clients get, whatever they and others do.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    time::Instant,
};

use super::*;
use crate::{agent::Snapshot, source::Contact};

/// How long anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A server that gives its clients so long.
fn server(published: &Published, patience: Duration) -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let published = published.clone();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            serve(listener, published, patience).await;
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
fn clients_that_say_nothing_lose_their_places_and_more_than_there_are_places_for_are_turned_away() {
    let address = server(&enforcing(), Duration::from_secs(2));
    let mut silent: Vec<_> = (0..MOST_CLIENTS).map(|_| connect(address)).collect();
    // One in the middle of its request is no better.
    write!(silent[0], "GET /readyz HTTP/1.1\r\nHost:").unwrap();
    let began = Instant::now();
    let mut was_turned_away = false;
    loop {
        match ask(address, "GET /readyz") {
            Some((status, _)) => {
                assert_eq!(status, 200);
                break;
            }
            None => was_turned_away = true,
        }
        assert!(began.elapsed() < SOON);
        thread::sleep(Duration::from_millis(20));
    }
    assert!(was_turned_away);
    for stream in &mut silent {
        // It was closed: at once, or after an answer that says why.
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

#[test]
fn an_address_is_had_when_the_process_before_lets_go_of_it() {
    let before = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = before.local_addr().unwrap();
    listen(address, enforcing()).unwrap();
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
