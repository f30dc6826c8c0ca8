//! From the parser's events to the nodes of one document. Nothing is resolved yet: aliases point at
//! what they stand for, scalars are text.
//!
//! Invariant: what was read before the syntax broke is a sound tree.

use std::{borrow::Cow, collections::HashMap};

use granit_parser::{Event, Parser, ScalarStyle, Tag};

use super::older::Older;

/// The number of a node.
pub(super) type Id = usize;

/// More nodes than a document may have: a list of all pods of a large cluster has a few million.
const MAX_NODES: usize = 16_000_000;

/// Deeper than lists and maps may be nested in each other.
pub(super) const MAX_DEPTH: usize = 250;

/// The nodes of a document.
#[derive(Default)]
pub(super) struct Tree<'a> {
    nodes: Vec<Node<'a>>,
    pub(super) broken: Option<Broken>,
}

/// Where and why reading ended early.
pub(super) struct Broken {
    /// Counted from 1 in the document.
    pub(super) line: usize,
    pub(super) message: String,
    /// The lists and maps that were open, from the outside in.
    pub(super) open: Vec<Id>,
}

pub(super) struct Node<'a> {
    pub(super) line: u32,
    pub(super) content: Content<'a>,
}

pub(super) enum Content<'a> {
    Scalar {
        text: Cow<'a, str>,
        plain: bool,
        tag: Type,
    },
    List {
        items: Vec<Id>,
        tag: Type,
    },
    Map {
        /// The value is missing where the syntax broke after the key.
        entries: Vec<(Id, Option<Id>)>,
        tag: Type,
    },
    Alias(Id),
}

/// The type that a tag gives a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// None: what it looks like.
    Untagged,
    Str,
    Int,
    Float,
    Bool,
    Null,
    List,
    Map,
    /// A type that JSON does not have.
    Other,
}

impl Type {
    fn of(tag: Option<&Tag>) -> Self {
        let Some(tag) = tag else {
            return Self::Untagged;
        };
        match tag.core_suffix() {
            Some("str") => Self::Str,
            Some("int") => Self::Int,
            Some("float") => Self::Float,
            Some("bool") => Self::Bool,
            Some("null") => Self::Null,
            Some("seq") => Self::List,
            Some("map") => Self::Map,
            _ => Self::Other,
        }
    }
}

impl<'a> Tree<'a> {
    /// Reads a text of one document, which may be sound JSON.
    pub(super) fn of(text: &'a str, json: bool) -> Self {
        let options = granit_parser::options! {
            emit_comments: false,
            flow_nesting_limit: MAX_DEPTH,
            block_nesting_limit: MAX_DEPTH,
            // A directive may change what a tag means; `kubectl` takes it for a document.
            disallow_directives: true,
            emit_anchor_events: true,
        };
        let mut composer = Composer::default();
        let mut older = Older::of(text, json);
        for event in Parser::new_from_str_with_options(text, options) {
            let (line, message) = match event {
                Ok((event, span)) => {
                    let line = span.start.line();
                    // What is not there has its place, too.
                    let end = span.end.byte_offset().filter(|_| !span.is_empty());
                    let rest = end.and_then(|end| text.get(end..));
                    let taken = check(&event, rest.unwrap_or_default());
                    let taken = taken.and_then(|()| match &mut older {
                        Some(older) => older.take(&event, span),
                        None => Ok(()),
                    });
                    match taken.and_then(|()| composer.take(event, line)) {
                        Ok(()) => continue,
                        Err(message) => (line, message.to_owned()),
                    }
                }
                Err(error) => (error.marker().line(), error.info()),
            };
            composer.tree.broken = Some(Broken {
                line: line.max(1),
                message,
                open: composer.open,
            });
            return composer.tree;
        }
        composer.tree.broken = older.and_then(|older| {
            let (line, message) = older.at_lines()?;
            Some(Broken {
                line,
                message: message.to_owned(),
                open: Vec::new(),
            })
        });
        composer.tree
    }

    /// The node at the top; `None` of a document without any.
    pub(super) fn root(&self) -> Option<Id> {
        (!self.nodes.is_empty()).then_some(0)
    }

    pub(super) fn node(&self, id: Id) -> Option<&Node<'a>> {
        self.nodes.get(id)
    }
}

/// Refuses what YAML 1.2 and `kubectl`'s parser take for different things; `rest` is the text after
/// it.
fn check(event: &Event<'_>, rest: &str) -> Result<(), &'static str> {
    match event {
        Event::Scalar(text, ScalarStyle::Plain, ..) if !text.is_empty() => {
            let mut rest = rest.trim_start().chars();
            let colon = rest.next() == Some(':');
            if colon && matches!(rest.next(), Some(',' | '[' | ']' | '{' | '}')) {
                Err("a space belongs after this colon, which is part of the key otherwise")
            } else if text.starts_with('?') {
                Err("a plain text must not begin with a question mark")
            } else {
                Ok(())
            }
        }
        Event::Anchor(_, name)
            if !name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) =>
        {
            Err("an anchor's name has letters, digits, '-' and '_' only")
        }
        _ => Ok(()),
    }
}

#[derive(Default)]
struct Composer<'a> {
    tree: Tree<'a>,
    open: Vec<Id>,
    anchors: HashMap<usize, Id>,
    documents: usize,
}

impl<'a> Composer<'a> {
    fn take(&mut self, event: Event<'a>, line: usize) -> Result<(), &'static str> {
        let (anchor, content, opens) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let tag = Type::of(tag.as_deref());
                (anchor, Content::Scalar { text, plain, tag }, false)
            }
            Event::SequenceStart(_, anchor, tag) => {
                let items = Vec::new();
                let tag = Type::of(tag.as_deref());
                (anchor, Content::List { items, tag }, true)
            }
            Event::MappingStart(_, anchor, tag) => {
                let entries = Vec::new();
                let tag = Type::of(tag.as_deref());
                (anchor, Content::Map { entries, tag }, true)
            }
            Event::Alias(anchor) => {
                let target = self.anchors.get(&anchor).copied();
                let target = target.ok_or("an alias stands for nothing")?;
                (0, Content::Alias(target), false)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.open.pop();
                return Ok(());
            }
            Event::DocumentStart(..) => {
                self.documents += 1;
                return match self.documents {
                    1 => Ok(()),
                    _ => Err("another document begins without a line of ---"),
                };
            }
            _ => return Ok(()),
        };
        let id = self.tree.nodes.len();
        if id >= MAX_NODES {
            return Err("a document of more than 16,000,000 values");
        }
        if anchor != 0 {
            self.anchors.insert(anchor, id);
        }
        self.put(id);
        self.tree.nodes.push(Node {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            content,
        });
        if opens {
            self.open.push(id);
        }
        Ok(())
    }

    /// Puts a node into the list or map that is open.
    fn put(&mut self, id: Id) {
        let Some(around) = self.open.last() else {
            return;
        };
        match self
            .tree
            .nodes
            .get_mut(*around)
            .map(|node| &mut node.content)
        {
            Some(Content::List { items, .. }) => items.push(id),
            Some(Content::Map { entries, .. }) => match entries.last_mut() {
                Some((_, value @ None)) => *value = Some(id),
                _ => entries.push((id, None)),
            },
            _ => {}
        }
    }
}
