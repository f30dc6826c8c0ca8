//! From nodes to a JSON value, as `kubectl` makes it: aliases written out, merge keys merged, keys
//! that are no texts turned into some. What few people mean by what they wrote is remembered as an
//! [`Oddity`].
//!
//! Invariant: time and memory are bounded by the document's size, whatever its aliases stand for.

use std::collections::BTreeSet;

use serde_json::{Map, Number, Value};

use super::{
    Oddity, Strange,
    compose::{Content, Id, MAX_DEPTH, Node, Tree, Type},
    path::{Path, field_of},
    scalar::{Scalar, float_key, resolve},
};
use crate::convert::Field;

/// What the texts that aliases repeat may have together, in bytes.
const MAX_REPEATED: usize = 64 << 20;

/// More oddities than anybody reads.
const MAX_ODDITIES: usize = 1_000;

/// What a document says.
#[derive(Default)]
pub(super) struct Decoded {
    pub(super) value: Value,
    pub(super) oddities: Vec<Strange>,
    /// Why it could not be read to its end: the line in the document and the field.
    pub(super) broken: Option<(usize, String, Field)>,
    /// The lines of all fields, when they are asked for.
    pub(super) lines: Vec<(Field, usize)>,
}

/// Makes a value of a document's nodes.
pub(super) fn decode(tree: &Tree<'_>, with_lines: bool) -> Decoded {
    let mut decoder = Decoder {
        tree,
        with_lines,
        result: Decoded::default(),
        open: Vec::new(),
        aliases: 0,
        // The document is one.
        decoded: 1,
        from_aliases: 0,
        repeated: 0,
    };
    let value = match tree.root() {
        Some(root) => decoder.value(root, &Path::Root),
        None => Value::Null,
    };
    let mut result = decoder.result;
    result.value = value;
    if result.broken.is_none() {
        result.broken = tree.broken.as_ref().map(|broken| {
            let field = field_of(tree, &broken.open);
            (broken.line, broken.message.clone(), field)
        });
    }
    result
}

struct Decoder<'t, 'a> {
    tree: &'t Tree<'a>,
    with_lines: bool,
    result: Decoded,
    /// The nodes that are being decoded, from the outside in.
    open: Vec<Id>,
    /// How many of them are aliases.
    aliases: usize,
    decoded: usize,
    from_aliases: usize,
    /// Bytes of texts that aliases repeated.
    repeated: usize,
}

impl<'t, 'a> Decoder<'t, 'a> {
    fn value(&mut self, id: Id, path: &Path<'_>) -> Value {
        let Some(node) = self.enter(id, path) else {
            return Value::Null;
        };
        let value = match &node.content {
            Content::Scalar { .. } => {
                let scalar = self.scalar(id, path);
                self.json(scalar, id, path)
            }
            Content::List { items, tag } => {
                self.collection(*tag, Type::List, id, path);
                let mut values = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    let value = self.value(*item, &Path::Item(path, index));
                    values.push(value);
                    if self.is_broken() {
                        break;
                    }
                }
                Value::Array(values)
            }
            Content::Map { tag, .. } => {
                self.collection(*tag, Type::Map, id, path);
                let mut members = Map::new();
                self.fill(id, &mut members, &mut BTreeSet::new(), false, path);
                Value::Object(members)
            }
            Content::Alias(target) => {
                self.aliases += 1;
                let value = self.value(*target, path);
                self.aliases -= 1;
                value
            }
        };
        self.open.pop();
        value
    }

    /// Counts a node that is about to be decoded; `None` when it must not be.
    fn enter(&mut self, id: Id, path: &Path<'_>) -> Option<&'t Node<'a>> {
        let tree = self.tree;
        let node = tree.node(id)?;
        if self.is_broken() {
            return None;
        }
        self.decoded += 1;
        if self.aliases > 0 {
            self.from_aliases += 1;
        }
        let message = if self.from_aliases > 100
            && self.decoded > 1000
            && is_excessive(self.from_aliases, self.decoded)
            || self.repeated > MAX_REPEATED
        {
            "its aliases make it too large"
        } else if self.aliases > 0 && self.open.contains(&id) {
            "an anchor's value contains itself"
        } else if self.open.len() > MAX_DEPTH + self.aliases || self.open.len() > 2 * MAX_DEPTH {
            "it is nested too deep"
        } else {
            self.open.push(id);
            return Some(node);
        };
        let line = usize::try_from(node.line).unwrap_or(1);
        self.result.broken = Some((line.max(1), message.to_owned(), path.field()));
        None
    }

    fn is_broken(&self) -> bool {
        self.result.broken.is_some()
    }

    /// Adds a map's entries to `members`; `merged` are the keys whose values came by merge keys.
    fn fill(
        &mut self,
        id: Id,
        members: &mut Map<String, Value>,
        merged: &mut BTreeSet<String>,
        by_merge: bool,
        path: &Path<'_>,
    ) {
        let tree = self.tree;
        let Some(Content::Map { entries, .. }) = tree.node(id).map(|node| &node.content) else {
            return;
        };
        for (key, value) in entries {
            if self.is_broken() {
                return;
            }
            if self.is_merge(*key) {
                self.merge(*value, members, merged, path);
                continue;
            }
            let name = self.key(*key, path);
            let Some(name) = name else {
                // Its value counts all the same.
                if let Some(value) = value {
                    self.value(*value, path);
                }
                continue;
            };
            let at = Path::Key(path, &name);
            if self.with_lines && !by_merge {
                let line = tree.node(*key).map_or(1, |node| node.line);
                let line = usize::try_from(line).unwrap_or(1).max(1);
                self.result.lines.push((at.field(), line));
            }
            let value = value.map_or(Value::Null, |value| self.value(value, &at));
            let is_explicit = |merged: &BTreeSet<String>| !merged.contains(&name);
            match members.get(&name) {
                Some(_) if !by_merge && is_explicit(merged) => {
                    self.note(&at, *key, Oddity::Twice);
                }
                Some(before) if by_merge && is_explicit(merged) && *before != value => {
                    self.note(&at, *key, Oddity::Overridden);
                }
                _ => {}
            }
            if by_merge {
                merged.insert(name.clone());
            } else {
                merged.remove(&name);
            }
            members.insert(name, value);
        }
    }

    fn is_merge(&self, key: Id) -> bool {
        match self.tree.node(key).map(|node| &node.content) {
            Some(Content::Scalar { text, plain, tag }) => {
                *plain && *tag == Type::Untagged && text == "<<"
            }
            _ => false,
        }
    }

    /// Merges a map, an alias of one, or a list of such, of which the first counts most.
    fn merge(
        &mut self,
        value: Option<Id>,
        members: &mut Map<String, Value>,
        merged: &mut BTreeSet<String>,
        path: &Path<'_>,
    ) {
        let Some(value) = value else {
            return;
        };
        let tree = self.tree;
        let sources = match tree.node(value).map(|node| &node.content) {
            Some(Content::List { items, .. }) => items.as_slice(),
            _ => &[value],
        };
        for source in sources.iter().rev() {
            let (map, is_alias) = match tree.node(*source).map(|node| &node.content) {
                Some(Content::Alias(target)) => (*target, true),
                _ => (*source, false),
            };
            if !matches!(
                tree.node(map).map(|node| &node.content),
                Some(Content::Map { .. })
            ) {
                let what = "a merge key (<<) takes a map, or a list of maps";
                self.note(path, *source, Oddity::Unfit(what.to_owned()));
                continue;
            }
            self.aliases += usize::from(is_alias);
            if self.enter(map, path).is_some() {
                self.fill(map, members, merged, true, path);
                self.open.pop();
            }
            self.aliases -= usize::from(is_alias);
        }
    }

    /// The text that a key becomes; `None` of one that cannot be one.
    fn key(&mut self, id: Id, path: &Path<'_>) -> Option<String> {
        let tree = self.tree;
        self.enter(id, path)?;
        self.open.pop();
        let target = match &tree.node(id)?.content {
            Content::Alias(target) => {
                self.aliases += 1;
                let entered = self.enter(*target, path).is_some();
                self.aliases -= 1;
                if !entered {
                    return None;
                }
                self.open.pop();
                *target
            }
            _ => id,
        };
        let Content::Scalar { text, .. } = &tree.node(target)?.content else {
            let what = "a key is a list or a map".to_owned();
            self.note(path, id, Oddity::Unfit(what));
            return None;
        };
        let key = match self.scalar(target, path) {
            Scalar::Text => text.clone().into_owned(),
            Scalar::Bool(value) => value.to_string(),
            Scalar::Integer { value, .. } if i64::try_from(value).is_ok() => value.to_string(),
            Scalar::Float(value) => float_key(value),
            Scalar::Null | Scalar::Integer { .. } => {
                let what = format!("the key {text:?} is no text; put it in quotes");
                self.note(path, id, Oddity::Unfit(what));
                return None;
            }
        };
        if *key != **text {
            let oddity = Oddity::Key {
                written: text.clone().into_owned(),
            };
            self.note(&Path::Key(path, &key), id, oddity);
        }
        Some(key)
    }

    /// What a scalar is, with its tag.
    fn scalar(&mut self, id: Id, path: &Path<'_>) -> Scalar {
        let tree = self.tree;
        let Some(Content::Scalar { text, plain, tag }) = tree.node(id).map(|node| &node.content)
        else {
            return Scalar::Null;
        };
        if self.aliases > 0 {
            self.repeated += text.len();
        }
        let fits = match tag {
            Type::Untagged if *plain => return resolve(text),
            Type::Untagged | Type::Str => return Scalar::Text,
            Type::Int => |scalar: &Scalar| matches!(scalar, Scalar::Integer { .. }),
            Type::Bool => |scalar: &Scalar| matches!(scalar, Scalar::Bool(_)),
            Type::Null => |scalar: &Scalar| *scalar == Scalar::Null,
            Type::Float => {
                |scalar: &Scalar| matches!(scalar, Scalar::Integer { .. } | Scalar::Float(_))
            }
            Type::List | Type::Map | Type::Other => |_: &Scalar| false,
        };
        let scalar = resolve(text);
        if !fits(&scalar) {
            let what = "its tag does not fit here".to_owned();
            self.note(path, id, Oddity::Unfit(what));
        }
        scalar
    }

    fn json(&mut self, scalar: Scalar, id: Id, path: &Path<'_>) -> Value {
        let tree = self.tree;
        let (text, tag) = match tree.node(id).map(|node| &node.content) {
            Some(Content::Scalar { text, tag, .. }) => (&**text, *tag),
            _ => ("", Type::Untagged),
        };
        match scalar {
            Scalar::Null => Value::Null,
            // Whoever writes one letter means it.
            Scalar::Bool(_) if tag == Type::Untagged && text.len() == 1 => {
                let written = text.to_owned();
                self.note(path, id, Oddity::Letter { written });
                text.into()
            }
            Scalar::Bool(value) => value.into(),
            Scalar::Text => text.into(),
            Scalar::Integer { value, octal } => {
                let (written, read) = (text.to_owned(), value);
                if octal && written.bytes().any(|byte| byte != b'0') {
                    self.note(path, id, Oddity::Octal { written, read });
                }
                let signed = i64::try_from(value).map(Value::from);
                signed.unwrap_or_else(|_| u64::try_from(value).map_or(Value::Null, Value::from))
            }
            Scalar::Float(value) => match Number::from_f64(value) {
                Some(number) => number.into(),
                None => {
                    let what = format!("{text} is no number that JSON has");
                    self.note(path, id, Oddity::Unfit(what));
                    Value::Null
                }
            },
        }
    }

    fn collection(&mut self, tag: Type, own: Type, id: Id, path: &Path<'_>) {
        if tag != Type::Untagged && tag != own {
            let what = "its tag does not fit here".to_owned();
            self.note(path, id, Oddity::Unfit(what));
        }
    }

    fn note(&mut self, path: &Path<'_>, id: Id, oddity: Oddity) {
        if self.result.oddities.len() < MAX_ODDITIES {
            let line = self.tree.node(id).map_or(1, |node| node.line);
            self.result.oddities.push(Strange {
                field: path.field(),
                line: usize::try_from(line).unwrap_or(1).max(1),
                oddity,
            });
        }
    }
}

/// As much as `kubectl` allows: all but a hundredth of a small document may come from aliases, a
/// tenth of a very large one.
fn is_excessive(from_aliases: usize, decoded: usize) -> bool {
    const SMALL: f64 = 400_000.0;
    const LARGE: f64 = 4_000_000.0;
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    let (from_aliases, decoded) = (from_aliases as f64, decoded as f64);
    let within = ((decoded - SMALL) / (LARGE - SMALL)).clamp(0.0, 1.0);
    from_aliases / decoded > 0.99 - 0.89 * within
}
