//! Clients that are slow, silent, many or talk nonsense.

use super::*;
use crate::control::ask;

/// Says a text of this many bytes to whoever asks.
struct Long(usize);

impl Answers for Long {
    fn answer(&self, _: Request, client: &mut Client) -> io::Result<()> {
        client.say(&"x".repeat(self.0))
    }
}

fn started(bytes: usize) -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/socket");
    listen(&path, Long(bytes)).unwrap();
    (directory, path)
}

fn is_answered(path: &Path, bytes: usize) -> bool {
    let answer: Option<String> = ask(path, &Request::Status).unwrap();
    answer.is_some_and(|text| text.len() == bytes)
}

#[test]
fn the_socket_is_its_owners_and_so_is_its_directory() {
    let (_directory, path) = started(1);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[test]
fn clients_that_do_not_read_hold_up_nobody() {
    let (_directory, path) = started(4 << 20);
    let deaf: Vec<_> = (0..MOST_CLIENTS / 2)
        .map(|_| {
            let mut client = UnixStream::connect(&path).unwrap();
            client
                .write_all(b"{\"version\":1,\"ask\":\"status\"}\n")
                .unwrap();
            client
        })
        .collect();
    assert!(is_answered(&path, 4 << 20));
    drop(deaf);
}

#[test]
fn clients_that_ask_nothing_make_room() {
    let (_directory, path) = started(10);
    let silent: Vec<_> = (0..4 * MOST_CLIENTS)
        .map(|_| UnixStream::connect(&path).unwrap())
        .collect();
    for _ in 0..10 {
        assert!(is_answered(&path, 10));
    }
    drop(silent);
}

#[test]
fn garbage_is_told_what_it_is_and_costs_the_others_nothing() {
    let (_directory, path) = started(10);
    let said = |bytes: &[u8]| {
        let mut client = UnixStream::connect(&path).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        // It may hang up in the middle.
        drop(client.write_all(bytes));
        let mut text = String::new();
        drop(client.read_to_string(&mut text));
        text
    };
    assert!(said(b"GET / HTTP/1.1\r\n\r\n").contains("error"));
    assert!(said(&[0xff, 0, 1, 2, b'\n']).contains("error"));
    let other = said(b"{\"version\":9,\"ask\":\"status\"}\n");
    assert!(other.contains("version 9"), "{other}");
    // Without an end.
    said(&vec![b'x'; 4 * MOST_REQUEST]);
    assert!(is_answered(&path, 10));
}

#[test]
fn many_at_a_time_are_answered_or_told_so() {
    let (_directory, path) = started(100_000);
    let asking: Vec<_> = (0..4 * MOST_CLIENTS)
        .map(|_| {
            let path = path.clone();
            thread::spawn(move || ask::<String>(&path, &Request::Status).is_ok())
        })
        .collect();
    let answered = asking.into_iter().map(|one| one.join().unwrap());
    assert!(answered.filter(|answered| *answered).count() >= MOST_CLIENTS);
    assert!(is_answered(&path, 100_000));
}

#[test]
fn nobody_who_runs_is_told_apart_from_one_who_does_not_answer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    assert!(ask::<String>(&path, &Request::Status).unwrap().is_none());
    drop(UnixListener::bind(&path).unwrap());
    assert!(ask::<String>(&path, &Request::Status).unwrap().is_none());
}
