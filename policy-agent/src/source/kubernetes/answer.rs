//! The body of an answer, as it arrives.

use std::{io::Write as _, time::Duration};

use flate2::write::MultiGzDecoder;
use http::{HeaderMap, Response, header};
use http_body_util::BodyExt as _;
use kube_client::client::Body;
use serde::Deserialize;

use super::Trouble;
use crate::source::contact::Listening;

/// More of an answer that is an error is not read.
const MOST_OF_AN_ERROR: usize = 64 << 10;

/// An answer of success.
pub(super) struct Answer {
    body: Body,
    listening: Listening,
    /// A stream may come as several gzip members, one after the other.
    inflate: Option<MultiGzDecoder<Vec<u8>>>,
}

/// What a server says of an error.
#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    message: String,
}

impl Answer {
    pub(super) async fn of(
        response: Response<Body>,
        patience: Duration,
        listening: &Listening,
    ) -> Result<Self, Trouble> {
        let (head, body) = response.into_parts();
        let encoding = head.headers.get(header::CONTENT_ENCODING);
        let is_gzip = encoding.is_some_and(|encoding| encoding.as_bytes() == b"gzip");
        let mut answer = Self {
            body,
            listening: listening.clone(),
            inflate: is_gzip.then(|| MultiGzDecoder::new(Vec::new())),
        };
        if head.status.is_success() {
            return Ok(answer);
        }
        let mut text = Vec::new();
        while text.len() < MOST_OF_AN_ERROR {
            match tokio::time::timeout(patience, answer.next()).await {
                Ok(Ok(Some(bytes))) => text.extend(bytes),
                // What it says is not worth another error.
                Ok(Ok(None) | Err(_)) | Err(_) => break,
            }
        }
        let status: Status = serde_json::from_slice(&text).unwrap_or_default();
        Err(Trouble::Status {
            code: head.status.as_u16(),
            message: status.message,
            retry_after: retry_after(&head.headers),
        })
    }

    /// What has arrived since, unpacked; `None` at the end. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, Trouble> {
        loop {
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            let frame = frame.map_err(Trouble::connection)?;
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            self.listening.heard(bytes.len());
            let Some(inflate) = &mut self.inflate else {
                return Ok(Some(bytes.to_vec()));
            };
            let undecodable = |error: std::io::Error| Trouble::Undecodable(error.to_string());
            inflate.write_all(&bytes).map_err(undecodable)?;
            // Whatever can be unpacked by now is wanted now.
            inflate.flush().map_err(undecodable)?;
            let unpacked = std::mem::take(inflate.get_mut());
            if !unpacked.is_empty() {
                return Ok(Some(unpacked));
            }
        }
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};

    use super::*;

    #[test]
    fn a_stream_of_several_members_is_unpacked_to_its_end_as_it_comes() {
        let mut packed = Vec::new();
        for text in ["first\n", "second\n", "third\n"] {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text.as_bytes()).unwrap();
            packed.extend(encoder.finish().unwrap());
        }
        let mut inflate = MultiGzDecoder::new(Vec::new());
        for part in packed.chunks(3) {
            inflate.write_all(part).unwrap();
            inflate.flush().unwrap();
        }
        let text = inflate.get_ref().as_slice();
        assert_eq!(text, b"first\nsecond\nthird\n");
    }
}
