//! Cuts a file into documents: at lines of `---`, or one JSON object after the other.

use serde::de::IgnoredAny;

/// The text of one document.
#[derive(Debug, PartialEq)]
pub(super) struct Chunk {
    /// The line at which it begins, counted from 1.
    pub(super) line: usize,
    pub(super) text: String,
    /// What of its beginning `kubectl` would not read, in words.
    pub(super) stray: Option<&'static str>,
    /// Whether it is sound JSON.
    pub(super) json: bool,
}

impl Chunk {
    fn new(line: usize, text: &str) -> Self {
        Self {
            line,
            text: text.to_owned(),
            stray: None,
            json: false,
        }
    }
}

/// The documents of a file, empty ones too.
pub(super) fn split(text: &str) -> Vec<Chunk> {
    if !text.trim_start().starts_with('{') {
        return at_markers(text, 1);
    }
    // As long as one object follows the other. One alone may be YAML's as well.
    let mut chunks = Vec::new();
    let mut objects = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let mut begin = 0;
    let mut line = 1;
    while let Some(Ok(IgnoredAny)) = objects.next() {
        let end = objects.byte_offset();
        let (Some(object), Some(skipped)) = (text.get(begin..end), blank(text, begin)) else {
            break;
        };
        line += newlines(skipped);
        chunks.push(Chunk {
            json: true,
            ..Chunk::new(line, object.trim_start())
        });
        line += newlines(object) - newlines(skipped);
        begin = end;
    }
    let rest = text.get(begin..).unwrap_or_default();
    if !rest.trim().is_empty() {
        chunks.extend(at_markers(rest, line));
    }
    chunks
}

fn blank(text: &str, begin: usize) -> Option<&str> {
    let rest = text.get(begin..)?;
    rest.get(..rest.len() - rest.trim_start().len())
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// Cuts at `---` and `...`, which begin a line only as markers, also inside of block scalars.
fn at_markers(text: &str, first: usize) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut chunk = Chunk::new(first, "");
    let mut marked = false;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let end = line
            .strip_prefix("...")
            .filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        let begin = line.strip_prefix("---");
        let Some(rest) = begin.or(end) else {
            chunk.text.push_str(line);
            continue;
        };
        // What precedes the first marker is no document if it only comments.
        let prologue = !marked && is_blank(&chunk.text);
        marked = true;
        if !prologue {
            chunks.push(chunk);
        }
        chunk = Chunk::new(first + index, "   ");
        // Columns stay what they are in the file.
        chunk.text.push_str(rest);
        chunk.stray = if end.is_some() {
            Some("what follows a line of ... without a line of --- is not read")
        } else if is_blank(rest) {
            None
        } else {
            Some("nothing but a comment may follow --- in its line")
        };
    }
    chunks.push(chunk);
    chunks
}

/// Whether there is nothing in a text but comments.
pub(super) fn is_blank(text: &str) -> bool {
    text.lines().all(|line| {
        let line = line.trim_start();
        line.is_empty() || line.starts_with('#')
    })
}
