//! Text from outside – file names, objects' names, a parser's words – made fit for a terminal.
//!
//! Knows nothing of where it comes from. Invariant: what is written has no character that moves a
//! cursor, changes a colour, ends a line or turns the reading direction.

use std::fmt::{self, Write};

/// Writes what it is given with such characters escaped, as `\u{1b}`.
#[derive(Debug)]
pub(crate) struct Escaping<W>(pub W);

impl<W: Write> Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_unfit) {
            let (fit, from) = rest.split_at(at);
            self.0.write_str(fit)?;
            let mut characters = from.chars();
            if let Some(unfit) = characters.next() {
                write!(self.0, "{}", unfit.escape_unicode())?;
            }
            rest = characters.as_str();
        }
        self.0.write_str(rest)
    }
}

/// A value whose text is shown escaped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printable<T>(pub T);

impl<T: fmt::Display> fmt::Display for Printable<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(formatter), "{}", self.0)
    }
}

/// The text of a JSON document with such characters escaped as JSON has it: its writer escapes only
/// those below U+0020, and they stand nowhere but in strings. Its own line ends stay.
pub(crate) fn printable_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if character != '\n' && is_unfit(character) {
            // All of them have one unit in UTF-16.
            let _ = write!(text, "\\u{:04x}", u32::from(character));
        } else {
            text.push(character);
        }
    }
    text
}

/// Control characters of both sets, marks that turn the reading direction, and characters that end
/// a line.
fn is_unfit(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_stays_the_same_json() {
        let value = serde_json::json!({"a\u{9b}": ["\u{1b}[31m", "\u{202e}\n", "é"]});
        let json = serde_json::to_string_pretty(&value).unwrap();
        let shown = printable_json(&json);
        assert!(!shown.chars().any(|c| c != '\n' && is_unfit(c)), "{shown}");
        let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read, value);
    }

    #[test]
    fn what_a_terminal_would_act_on_is_escaped_and_the_rest_is_not() {
        for (text, shown) in [
            ("default/web", "default/web"),
            ("caf\u{e9} \\e 日本", "caf\u{e9} \\e 日本"),
            ("a\u{1b}[31mb", "a\\u{1b}[31mb"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("two\nlines\r\u{7f}", "two\\u{a}lines\\u{d}\\u{7f}"),
            ("\u{202e}gnp.exe\u{2066}", "\\u{202e}gnp.exe\\u{2066}"),
        ] {
            assert_eq!(Printable(text).to_string(), shown);
        }
    }
}
