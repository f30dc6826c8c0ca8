//! Colour, where somebody can see it: on a terminal, unless `NO_COLOR` is set (no-color.org).

use std::{
    env,
    io::{self, IsTerminal as _},
};

/// How text is emphasised.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    coloured: bool,
}

impl Paint {
    /// For what goes to standard output.
    pub(crate) fn for_stdout() -> Self {
        let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            coloured: io::stdout().is_terminal() && !unwanted,
        }
    }

    /// What works.
    pub(crate) fn good(self, text: &str) -> String {
        self.in_colour("32", text)
    }

    /// What is denied, or removed, or wrong.
    pub(crate) fn bad(self, text: &str) -> String {
        self.in_colour("31", text)
    }

    /// Works in part.
    pub(crate) fn partly(self, text: &str) -> String {
        self.in_colour("33", text)
    }

    /// A heading.
    pub(crate) fn heading(self, text: &str) -> String {
        self.in_colour("1", text)
    }

    /// What is only there for whoever looks closer.
    pub(crate) fn quiet(self, text: &str) -> String {
        self.in_colour("2", text)
    }

    fn in_colour(self, code: &str, text: &str) -> String {
        if self.coloured {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
