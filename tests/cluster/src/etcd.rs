//! Writing past the server: what no server would take, or faster than one could.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Operations that etcd takes in one transaction.
const MOST: usize = 100;

/// An etcd, by its gateway for JSON.
#[derive(Clone, Copy, Debug)]
pub struct Etcd {
    port: u16,
}

impl Etcd {
    pub(crate) fn new(port: u16) -> Self {
        Self { port }
    }

    /// Its revision.
    ///
    /// # Errors
    /// It does not answer.
    pub fn revision(&self) -> Result<u64> {
        let answer = self.ask(
            "kv/range",
            &json!({"key": base64(b"/"), "count_only": true}),
        )?;
        let revision = answer["header"]["revision"]
            .as_str()
            .context("no revision")?;
        Ok(revision.parse()?)
    }

    /// Puts objects under their keys, 100 to a transaction.
    ///
    /// # Errors
    /// It does not take them.
    pub fn put(&self, objects: &[(String, Value)]) -> Result<()> {
        for some in objects.chunks(MOST) {
            let puts: Vec<Value> = some
                .iter()
                .map(|(key, object)| {
                    let value = base64(object.to_string().as_bytes());
                    json!({"requestPut": {"key": base64(key.as_bytes()), "value": value}})
                })
                .collect();
            self.ask("kv/txn", &json!({"success": puts}))?;
        }
        Ok(())
    }

    /// Removes everything whose key begins so.
    ///
    /// # Errors
    /// It does not do so.
    pub fn remove(&self, prefix: &str) -> Result<()> {
        let mut end = prefix.as_bytes().to_vec();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let range = json!({"key": base64(prefix.as_bytes()), "range_end": base64(&end)});
        self.ask("kv/deleterange", &range).map(drop)
    }

    /// Forgets everything before its revision now.
    ///
    /// # Errors
    /// It does not do so.
    pub fn compact(&self) -> Result<()> {
        let revision = self.revision()?.to_string();
        self.ask(
            "kv/compaction",
            &json!({"revision": revision, "physical": true}),
        )
        .map(drop)
    }

    fn ask(&self, what: &str, question: &Value) -> Result<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let body = question.to_string();
        let head = format!(
            "POST /v3/{what} HTTP/1.0\r\nHost: etcd\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        if !head.starts_with("HTTP/1.0 200") && !head.starts_with("HTTP/1.1 200") {
            bail!("etcd: {what}: {}", body.trim());
        }
        Ok(serde_json::from_str(body)?)
    }
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = three
            .iter()
            .fold(0_usize, |word, byte| word << 8 | usize::from(*byte));
        let word = word << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS[word >> (18 - 6 * place) & 63];
            text.push(if place <= three.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_the_examples_of_its_standard() {
        for (text, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text.as_bytes()), coded);
        }
    }
}
