//! Taking a list apart while it arrives: one item after the other, and what is around them.
//!
//! Must not know what the items are. Invariant: at most one item and what surrounds the items is
//! held, however long the list is.

use super::Trouble;

/// More bytes than any object has that a server stores.
const MOST: usize = 32 << 20;

/// Whereabouts in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Around the items.
    Around,
    /// In the list of items, between two of them.
    Between,
    /// In an item.
    Item,
}

/// A list that is arriving.
#[derive(Debug)]
pub(super) struct Splitter {
    place: Place,
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// The last text at the top.
    word: Vec<u8>,
    around: Vec<u8>,
    item: Vec<u8>,
    ended: bool,
}

impl Splitter {
    pub(super) fn new() -> Self {
        Self {
            place: Place::Around,
            depth: 0,
            in_text: false,
            escaped: false,
            word: Vec::new(),
            around: Vec::new(),
            item: Vec::new(),
            ended: false,
        }
    }

    /// Takes what has arrived; `each` is given every item that is complete by it.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        for &byte in bytes {
            if self.step(byte)? {
                each(&self.item)?;
                self.item.clear();
            }
        }
        Ok(())
    }

    /// What was around the items, with none in it; an error when the list did not come to its end.
    pub(super) fn finish(self) -> Result<Vec<u8>, Trouble> {
        if self.ended {
            Ok(self.around)
        } else {
            Err(Trouble::CutShort)
        }
    }

    /// Whether the byte completes an item.
    fn step(&mut self, byte: u8) -> Result<bool, Trouble> {
        if self.place == Place::Between {
            match byte {
                b'{' => self.place = Place::Item,
                b']' => self.place = Place::Around,
                b',' | b' ' | b'\t' | b'\r' | b'\n' => return Ok(false),
                _ => return Err(Trouble::NoList),
            }
        }
        let in_item = self.place == Place::Item;
        let text = if in_item {
            &mut self.item
        } else {
            &mut self.around
        };
        if text.len() >= MOST {
            return Err(Trouble::TooLarge);
        }
        text.push(byte);
        if self.in_text {
            let ends = byte == b'"' && !self.escaped;
            self.escaped = byte == b'\\' && !self.escaped;
            self.in_text = !ends;
            if !ends && self.depth == 1 {
                self.word.push(byte);
            }
            return Ok(false);
        }
        match byte {
            b'"' => {
                self.in_text = true;
                if self.depth == 1 {
                    self.word.clear();
                }
            }
            b'{' | b'[' => {
                self.depth += 1;
                if byte == b'[' && self.depth == 2 && !in_item && self.word == b"items" {
                    self.place = Place::Between;
                }
            }
            b'}' | b']' => {
                self.depth = self.depth.checked_sub(1).ok_or(Trouble::NoList)?;
                self.ended |= self.depth == 0;
                if in_item && self.depth == 2 {
                    self.place = Place::Between;
                    return Ok(true);
                }
            }
            _ => {}
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn split(text: &str, at: usize) -> Result<(Value, Vec<Value>), Trouble> {
        let mut splitter = Splitter::new();
        let mut items = Vec::new();
        let mut each = |item: &[u8]| {
            items.push(serde_json::from_slice(item).unwrap());
            Ok(())
        };
        for part in text.as_bytes().chunks(at) {
            splitter.feed(part, &mut each)?;
        }
        Ok((serde_json::from_slice(&splitter.finish()?).unwrap(), items))
    }

    #[test]
    fn items_are_told_from_what_is_around_them() {
        let item = json!({"items": [{"a": "]}\\\""}], "b": [[], {}]});
        let list = json!({"kind": "L", "items": [item, {}], "metadata": {"items": [1]}});
        for at in [1, 2, 3, 1000] {
            let (around, items) = split(&list.to_string(), at).unwrap();
            assert_eq!(items, [item.clone(), json!({})]);
            let wanted = json!({"kind": "L", "items": [], "metadata": {"items": [1]}});
            assert_eq!(around, wanted);
        }
        let (_, none) = split(r#"{"items":null}"#, 5).unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn half_a_list_is_no_list() {
        let list = r#"{"items":[{"a":1},{"b":2}]}"#;
        for end in 0..list.len() {
            assert!(split(&list[..end], 4).is_err(), "{}", &list[..end]);
        }
        assert!(matches!(
            split(r#"{"items":[null]}"#, 4),
            Err(Trouble::NoList)
        ));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut splitter = Splitter::new();
            let _ = splitter.feed(&bytes, |_| Ok(()));
            let _ = splitter.finish();
        }
    }
}
