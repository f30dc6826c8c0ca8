//! Asks a running agent.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    marker::PhantomData,
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde::de::DeserializeOwned;

use super::protocol::{Answer, ControlError, Envelope, Request, VERSION};

/// How long the agent may take to go on with an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of the longest line of an answer.
const MOST_ANSWER: u64 = 256 << 20;

/// Asks for one answer. `None`: no agent runs there.
///
/// # Errors
/// It does not answer in time, not in a form that this version reads, or says why it has no answer.
pub fn ask<T: DeserializeOwned>(
    socket: &Path,
    request: &Request,
) -> Result<Option<T>, ControlError> {
    let Some(mut replies) = follow(socket, request)? else {
        return Ok(None);
    };
    replies.stream.get_ref().set_read_timeout(Some(PATIENCE))?;
    let answer = replies.next().transpose()?;
    answer.map_or_else(
        || Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        |one| Ok(Some(one)),
    )
}

/// Asks for answers that come when there is something to say. `None`: no agent runs there.
///
/// # Errors
/// It cannot be asked.
pub fn follow<T>(socket: &Path, request: &Request) -> Result<Option<Replies<T>>, ControlError> {
    let mut stream = match UnixStream::connect(socket) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        other => other?,
    };
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(&Envelope {
        version: VERSION,
        ask: request.clone(),
    })?;
    line.push(b'\n');
    stream.write_all(&line)?;
    Ok(Some(Replies {
        stream: BufReader::new(stream),
        of: PhantomData,
    }))
}

/// The lines of an answer, as they come.
#[derive(Debug)]
pub struct Replies<T> {
    stream: BufReader<UnixStream>,
    of: PhantomData<T>,
}

impl<T: DeserializeOwned> Replies<T> {
    fn line(&mut self) -> Result<Option<T>, ControlError> {
        let mut line = Vec::new();
        let mut bounded = self.stream.by_ref().take(MOST_ANSWER);
        bounded.read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        let Answer {
            version,
            answer,
            error,
        } = serde_json::from_slice(&line)?;
        match (version, answer, error) {
            (VERSION, Some(answer), None) => Ok(Some(answer)),
            (VERSION, _, error) => Err(ControlError::Refused(
                error.unwrap_or_else(|| "the agent has no answer".into()),
            )),
            (version, ..) => Err(ControlError::Version(version)),
        }
    }
}

impl<T: DeserializeOwned> Iterator for Replies<T> {
    type Item = Result<T, ControlError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.line().transpose()
    }
}
