//! The socket and its clients.
//!
//! Owns a thread that accepts, and one for each client. Invariants: at most so many clients are
//! served at a time, and who has asked nothing yet makes room for who comes; a client that does not
//! read, or does not go on, loses its connection and holds up nobody.

use std::{
    collections::VecDeque,
    fs,
    io::{self, Read as _, Write as _},
    net::Shutdown,
    os::unix::{
        fs::{DirBuilderExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::protocol::{Answer, ControlError, MOST_REQUEST, Request, VERSION, read_request};

/// How long a client may take to ask, and to read what is ready for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clients that are served at a time.
const MOST_CLIENTS: usize = 32;
/// How long it is looked whether a client is there.
const LOOK: Duration = Duration::from_millis(1);
/// The pause after the kernel refused to accept a client: it may have no descriptors left.
const REFUSED: Duration = Duration::from_millis(100);

/// Who answers.
pub(crate) trait Answers: Send + Sync + 'static {
    /// Answers a request; may take its time.
    ///
    /// # Errors
    /// The client went away, or does not read.
    fn answer(&self, request: Request, client: &mut Client) -> io::Result<()>;
}

/// A client that asked.
pub(crate) struct Client {
    stream: UnixStream,
}

impl Client {
    /// Says a line of the answer.
    ///
    /// # Errors
    /// The client went away, or does not read.
    pub(crate) fn say<T: Serialize>(&mut self, answer: &T) -> io::Result<()> {
        self.line(&Answer {
            version: VERSION,
            answer: Some(answer),
            error: None,
        })
    }

    /// Says why there is no answer.
    ///
    /// # Errors
    /// As [`Client::say`].
    pub(crate) fn refuse(&mut self, why: impl ToString) -> io::Result<()> {
        self.line(&Answer::<()> {
            version: VERSION,
            answer: None,
            error: Some(why.to_string()),
        })
    }

    fn line<T: Serialize>(&mut self, answer: &Answer<T>) -> io::Result<()> {
        let mut line = serde_json::to_vec(answer)?;
        line.push(b'\n');
        self.write(&line)
    }

    /// Writes all of it in time: a reader that takes a byte now and then is not waited for.
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(left(deadline)?))?;
            match self.stream.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether nobody is there any more. Who asked has nothing more to say: what comes is not looked at.
    pub(crate) fn is_gone(&mut self) -> bool {
        let look = || -> io::Result<usize> {
            self.stream.set_read_timeout(Some(LOOK))?;
            (&self.stream).read(&mut [0; 1 << 10])
        };
        match look() {
            Ok(read) => read == 0,
            Err(error) => !matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
            ),
        }
    }

    /// Reads the request's line.
    fn request(&mut self) -> Result<Request, ControlError> {
        let deadline = Instant::now() + PATIENCE;
        let mut line = Vec::new();
        let mut chunk = [0; 1 << 10];
        loop {
            self.stream.set_read_timeout(Some(left(deadline)?))?;
            let read = match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            let new = &chunk[..read];
            if let Some(end) = new.iter().position(|byte| *byte == b'\n') {
                line.extend_from_slice(&new[..end]);
                return read_request(&line);
            }
            line.extend_from_slice(new);
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            if line.len() > MOST_REQUEST {
                return Err(ControlError::Refused("the request is too long".into()));
            }
        }
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

/// Opens the socket and answers. The lock of the pin directory is held: a socket that is there
/// belongs to nobody.
///
/// # Errors
/// The socket cannot be made.
pub(crate) fn listen(path: &Path, answers: impl Answers) -> Result<(), ControlError> {
    let failed = |source| ControlError::Listen {
        path: path.to_owned(),
        source,
    };
    let listener = open(path).map_err(failed)?;
    thread::Builder::new()
        .name("control".into())
        .spawn(move || serve(&listener, &Arc::new(answers)))
        .map_err(failed)?;
    Ok(())
}

/// Makes the socket in a directory that nobody else can enter, and moves it to its place when only
/// its owner can open it.
fn open(path: &Path) -> io::Result<UnixListener> {
    let private = path.with_extension("private");
    let fresh = private.join("socket");
    let absent = |result: io::Result<()>| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    if let Some(run) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(run)?;
    }
    absent(fs::remove_dir_all(&private))?;
    fs::DirBuilder::new().mode(0o700).create(&private)?;
    let listener = UnixListener::bind(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
    fs::rename(&fresh, path)?;
    fs::remove_dir(&private)?;
    Ok(listener)
}

/// The clients that are served, the oldest first.
#[derive(Default)]
struct Clients {
    last: u64,
    served: VecDeque<Served>,
}

struct Served {
    number: u64,
    stream: UnixStream,
    has_asked: bool,
}

impl Clients {
    /// Takes a client in, for whom another that has asked nothing goes, if there must be room.
    fn admit(&mut self, stream: UnixStream) -> Option<u64> {
        if self.served.len() >= MOST_CLIENTS {
            let silent = self.served.iter().position(|client| !client.has_asked)?;
            let silent = self.served.remove(silent)?;
            drop(silent.stream.shutdown(Shutdown::Both));
        }
        self.last += 1;
        self.served.push_back(Served {
            number: self.last,
            stream,
            has_asked: false,
        });
        Some(self.last)
    }

    fn asked(&mut self, number: u64) {
        let client = self.served.iter_mut().find(|one| one.number == number);
        if let Some(client) = client {
            client.has_asked = true;
        }
    }

    fn left(&mut self, number: u64) {
        self.served.retain(|client| client.number != number);
    }
}

fn lock(clients: &Mutex<Clients>) -> MutexGuard<'_, Clients> {
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve<A: Answers>(listener: &UnixListener, answers: &Arc<A>) {
    let clients = Arc::new(Mutex::new(Clients::default()));
    loop {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(REFUSED);
            continue;
        };
        let Ok(second) = stream.try_clone() else {
            continue;
        };
        let mut client = Client { stream };
        let Some(number) = lock(&clients).admit(second) else {
            drop(client.stream.set_nonblocking(true));
            drop(client.refuse("the agent has as many clients as it serves"));
            continue;
        };
        let (answers, counted) = (Arc::clone(answers), Arc::clone(&clients));
        let served = thread::Builder::new()
            .name("control client".into())
            .spawn(move || {
                // A client that went away, or does not read, concerns nobody else.
                drop(converse(&mut client, number, answers.as_ref(), &counted));
                lock(&counted).left(number);
            });
        if served.is_err() {
            lock(&clients).left(number);
        }
    }
}

fn converse(
    client: &mut Client,
    number: u64,
    answers: &impl Answers,
    clients: &Mutex<Clients>,
) -> io::Result<()> {
    match client.request() {
        Ok(request) => {
            lock(clients).asked(number);
            answers.answer(request, client)
        }
        Err(ControlError::Ask(error)) => Err(error),
        Err(error) => client.refuse(error),
    }
}

#[cfg(test)]
mod tests;
