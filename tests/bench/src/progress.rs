//! A bar on stderr while measuring; a line per figure where stderr is no terminal.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};

/// How far measuring got.
#[derive(Debug)]
pub(super) struct Progress {
    /// `None`: nobody would see it move.
    bar: Option<ProgressBar>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            bar: std::io::stderr().is_terminal().then(|| {
                let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {elapsed} {msg}");
                let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
                ProgressBar::new(0).with_style(style)
            }),
        }
    }
}

impl Progress {
    pub(super) fn expect(&mut self, steps: usize) {
        if let Some(bar) = &self.bar {
            bar.inc_length(steps as u64);
        }
    }

    pub(super) fn doing(&mut self, what: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(what.to_owned());
                bar.tick();
            }
            None => eprintln!("{what} …"),
        }
    }

    pub(super) fn done(&mut self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
            bar.inc(1);
        }
    }

    pub(super) fn finish(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
