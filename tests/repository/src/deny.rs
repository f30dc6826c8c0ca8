//! The lists of `deny.toml`, and licence expressions held against one.

use anyhow::{Context as _, Result};

use crate::read;

/// What the workspace may depend on.
#[derive(Debug)]
pub struct Deny {
    /// Licences.
    pub licenses: Vec<String>,
    /// Packages that may be there in several versions.
    pub skipped: Vec<String>,
    /// Registries.
    pub registries: Vec<String>,
}

impl Deny {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read or misses a list.
    pub fn read() -> Result<Self> {
        let text = read("deny.toml")?;
        let list = |key| list(&text, key).with_context(|| format!("deny.toml has no list {key}"));
        Ok(Self {
            licenses: list("allow")?,
            skipped: list("skip")?,
            registries: list("allow-registry")?,
        })
    }
}

/// The strings of `key = ["a", "b"]`, which may go over several lines.
fn list(text: &str, key: &str) -> Option<Vec<String>> {
    let start = format!("\n{key} = [");
    let from = text.find(&start)? + start.len();
    let inside = text[from..].split(']').next()?;
    let strings = inside.split('"').skip(1).step_by(2);
    Some(strings.map(str::to_owned).collect())
}

/// Does an SPDX expression let one choose licences of the list only? An exception (`WITH`) grants
/// more than its licence and needs no entry of its own.
#[must_use]
pub fn is_allowed(expression: &str, licenses: &[String]) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    any(&mut rest, licenses) == Some(true) && rest.is_empty()
}

fn any(words: &mut &[&str], licenses: &[String]) -> Option<bool> {
    let mut allowed = all(words, licenses)?;
    while take(words, "OR") {
        // Both sides are read, whatever the first says.
        allowed |= all(words, licenses)?;
    }
    Some(allowed)
}

fn all(words: &mut &[&str], licenses: &[String]) -> Option<bool> {
    let mut allowed = one(words, licenses)?;
    while take(words, "AND") {
        allowed &= one(words, licenses)?;
    }
    Some(allowed)
}

fn one(words: &mut &[&str], licenses: &[String]) -> Option<bool> {
    if take(words, "(") {
        let inside = any(words, licenses)?;
        return take(words, ")").then_some(inside);
    }
    let (license, rest) = words.split_first()?;
    *words = rest;
    if take(words, "WITH") {
        *words = words.split_first()?.1;
    }
    Some(licenses.iter().any(|allowed| allowed == license))
}

fn take(words: &mut &[&str], word: &str) -> bool {
    let Some((first, rest)) = words.split_first() else {
        return false;
    };
    if *first == word {
        *words = rest;
    }
    *first == word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_allowed_if_one_choice_is() {
        let licenses = ["MIT", "Zlib", "Apache-2.0"].map(str::to_owned);
        for expression in [
            "MIT",
            "GPL-3.0 OR MIT",
            "MIT/GPL-3.0",
            "(GPL-3.0 OR MIT) AND Zlib",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
        ] {
            assert!(is_allowed(expression, &licenses), "{expression}");
        }
        for expression in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "MIT OR",
            "(MIT",
            "MIT Zlib",
            "",
        ] {
            assert!(!is_allowed(expression, &licenses), "{expression}");
        }
    }

    #[test]
    fn a_list_may_go_over_several_lines() {
        let text = "\nother = [\"x\"]\nallow = [\n    \"a\",\n    \"b\",\n]\n";
        assert_eq!(
            list(text, "allow"),
            Some(vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(list(text, "deny"), None);
    }
}
