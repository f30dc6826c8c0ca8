//! What this parser, of YAML 1.2, reads and `kubectl`'s, of YAML 1.1, does not, or reads otherwise.
//!
//! Owns the differences that no value shows afterwards. Must not know the tree. Invariant: what is sound
//! JSON is not looked at, since `kubectl` reads it as that.

use std::ops::Range;

use granit_parser::{Event, ScalarStyle, Span, StructureStyle};

/// Looks at one document, event by event.
pub(super) struct Older<'a> {
    text: &'a str,
    /// There may be something to see at beginnings of lines.
    has_tabs: bool,
    /// Where brackets that are open began.
    flow: Vec<usize>,
    /// Where tabs at the beginning of a line are text, or blanks between brackets: up to how many columns
    /// they are not.
    harmless: Vec<(Range<usize>, usize)>,
}

impl<'a> Older<'a> {
    /// `None` for sound JSON.
    pub(super) fn of(text: &'a str, json: bool) -> Option<Self> {
        (!json).then(|| Self {
            text,
            has_tabs: text.contains('\t'),
            flow: Vec::new(),
            harmless: Vec::new(),
        })
    }

    /// Refuses what both parsers take for different things.
    pub(super) fn take(&mut self, event: &Event<'_>, span: Span) -> Result<(), &'static str> {
        let place = span.byte_range().unwrap_or_default();
        match event {
            Event::Scalar(..) if !self.flow.is_empty() && self.is_long_key(&place) => {
                Err("a key between brackets stands on one line with its colon")
            }
            Event::Scalar(text, ScalarStyle::Plain, ..) => self.plain(text),
            Event::Scalar(_, ScalarStyle::DoubleQuoted, ..) if self.has_slash(&place) => {
                Err("\\/ is an escape of JSON that `kubectl` does not read in YAML")
            }
            Event::Scalar(_, style, ..) => {
                let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                self.skip(place, is_block);
                Ok(())
            }
            Event::SequenceStart(StructureStyle::Flow, ..)
            | Event::MappingStart(StructureStyle::Flow, ..) => {
                self.flow.push(place.start);
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => {
                // Only brackets have something where they end.
                if !place.is_empty()
                    && let Some(begin) = self.flow.pop()
                {
                    self.skip(begin..place.end, false);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn plain(&self, text: &str) -> Result<(), &'static str> {
        if !self.flow.is_empty() && text.contains('?') {
            Err("a question mark between brackets belongs into quotes")
        } else if !self.flow.is_empty() && text.starts_with(':') {
            Err("a colon between brackets belongs into quotes, or a space behind it")
        } else {
            Ok(())
        }
    }

    /// Whether what stands there is a key whose colon is on another line than its beginning.
    fn is_long_key(&self, place: &Range<usize>) -> bool {
        let rest = self.text.get(place.start..).unwrap_or_default();
        let after = self.text.get(place.end..).unwrap_or_default();
        let to_colon = rest.len() - after.trim_start().len();
        let written = rest.get(..to_colon).unwrap_or_default();
        after.trim_start().starts_with(':') && written.contains(['\n', '\r'])
    }

    /// Whether an escaped slash is written there.
    fn has_slash(&self, place: &Range<usize>) -> bool {
        let mut written = self.text.get(place.clone()).unwrap_or_default().chars();
        while let Some(character) = written.next() {
            if character == '\\' && written.next() == Some('/') {
                return true;
            }
        }
        false
    }

    fn skip(&mut self, place: Range<usize>, is_block: bool) {
        if self.has_tabs && self.flow.is_empty() {
            let written = self.text.get(place.clone()).unwrap_or_default();
            let spaces = |line: &str| line.len() - line.trim_start_matches(' ').len();
            let mut lines = written
                .lines()
                .skip(1)
                .filter(|line| !line.trim().is_empty());
            let indent = lines.next().filter(|_| is_block).map_or(0, spaces);
            self.harmless.push((place, indent));
        }
    }

    /// What is wrong at the beginning of a line, and at which, counted from 1. Once, after the last event.
    pub(super) fn at_lines(&self) -> Option<(usize, &'static str)> {
        let mut begin = 0;
        for (number, line) in (1..).zip(self.text.split_inclusive('\n')) {
            let (blank, tab) = beginning(line);
            let rest = line.get(blank..).unwrap_or_default();
            if rest.starts_with('\u{feff}') {
                return Some((
                    number,
                    "has a byte order mark that is not at the file's beginning",
                ));
            }
            if let Some(column) = tab
                && !self.is_harmless(begin, column)
            {
                return Some((
                    number,
                    "a line begins with a tab, which `kubectl` does not read",
                ));
            }
            begin += line.len();
        }
        None
    }

    fn is_harmless(&self, line: usize, column: usize) -> bool {
        let after = self
            .harmless
            .partition_point(|(place, _)| place.start < line);
        // The last that begins before the line; what is between brackets has been told of together.
        let before = self.harmless.get(..after).and_then(<[_]>::last);
        before.is_some_and(|(place, indent)| line < place.end && column >= *indent)
    }
}

/// How long the blanks and dashes at a line's beginning are, and where the first tab among them is.
fn beginning(line: &str) -> (usize, Option<usize>) {
    let mut tab = None;
    let mut characters = line.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let is_before_blank = matches!(characters.peek(), Some((_, ' ' | '\t')));
        match character {
            ' ' => {}
            '\t' => tab = tab.or(Some(at)),
            '-' | '?' if is_before_blank => {}
            _ => return (at, tab),
        }
    }
    (line.len(), tab)
}

#[cfg(test)]
mod tests {
    use super::super::documents;

    /// Why a document is not read.
    fn refused(text: &str) -> Option<(usize, String)> {
        let mut all = documents(text);
        let error = all.remove(0).content.err()?;
        Some((error.line, error.message))
    }

    #[test]
    fn tabs_that_kubectl_does_not_read_are_refused_at_their_line() {
        for (text, line) in [
            ("a: 1\n\tb: 2\n", 1),
            ("a:\n  \tb: 1\n", 2),
            ("a: 1\n\t\nb: 2\n", 2),
            ("a: 1\n  \t# a comment\nb: 2\n", 2),
            ("a: 1\nb: 2\n\t", 3),
            ("a:\n- \tb\n", 2),
            ("a:\n- - \tb\n", 2),
            ("a: b\n\t c\n", 1),
            ("a: |\n  b\n \tc\n", 3),
            ("a: |\n  \tb\n", 2),
            ("a: >-\n  b\n\t\nc: 1\n", 3),
        ] {
            let found = refused(text);
            assert_eq!(
                found.as_ref().map(|found| found.0),
                Some(line),
                "{text:?} {found:?}"
            );
        }
    }

    #[test]
    fn tabs_that_are_text_or_between_brackets_or_after_something_are_read() {
        for text in [
            "a:\t1\n",
            "a: 1\t# a comment\n",
            "a: |\n  b\n  \tc\n",
            "a: [1,\n  \t2]\nd: 1\n",
            "a: 'b\n\tc'\n",
            "a: \"b\n\tc\"\n",
            "{\n\t\"a\": 1\n}\n",
        ] {
            assert_eq!(refused(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_ends_a_text_between_brackets_in_yaml_1_1_is_refused_there() {
        for text in [
            "a: {b?: 1}\n",
            "a: [b ? c]\n",
            "a: {:b: 1}\n",
            "a: {b\n  c: 1}\n",
            "a: {'b'\n  : 1}\n",
        ] {
            assert!(refused(text).is_some(), "{text:?}");
        }
        for text in [
            "a?: b?\n",
            "a: {'b?': 1}\n",
            "a: {b: c\n  d}\n",
            "a: ['?', 1:2]\n",
        ] {
            assert_eq!(refused(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_escape_of_json_is_one_in_json_only() {
        assert!(refused("a: \"b\\/c\"\n").is_some());
        assert_eq!(refused("{\"a\": \"b\\/c\"}\n"), None);
        assert_eq!(refused("a: \"b\\\\/c\"\n"), None, "a backslash and a slash");
    }

    #[test]
    fn a_byte_order_mark_belongs_to_the_beginning_of_a_file() {
        assert!(refused("# a comment\n\u{feff}kind: Pod\n").is_some());
    }
}
