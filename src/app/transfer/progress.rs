//! How far a transfer is, for whoever waits: a line that changes on a terminal, else a line now and then, and nothing
//! where programs read the result.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::OutputForm;
use crate::transfer::Progress;

/// How often a line is written where there is no terminal.
const EVERY: Duration = Duration::from_secs(10);

/// Where progress is shown.
pub(super) struct Shown {
    to: To,
    items: &'static str,
}

enum To {
    Nobody,
    Terminal(ProgressBar),
    Lines(Mutex<Instant>),
}

impl Shown {
    /// `items` is what is counted.
    pub(super) fn new(form: OutputForm, items: &'static str) -> Self {
        let to = match form {
            OutputForm::Json => To::Nobody,
            OutputForm::Table if io::stderr().is_terminal() => {
                let bar = ProgressBar::new_spinner();
                if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}")
                {
                    bar.set_style(style);
                }
                To::Terminal(bar)
            }
            OutputForm::Table => To::Lines(Mutex::new(Instant::now())),
        };
        Self { to, items }
    }

    pub(super) fn show(&self, progress: Progress) {
        let Progress {
            repositories,
            items,
            requests,
        } = progress;
        let text = format!(
            "{repositories} repositories, {items} {}, {requests} requests",
            self.items
        );
        match &self.to {
            To::Nobody => {}
            To::Terminal(bar) => {
                bar.set_message(text);
                bar.tick();
            }
            To::Lines(last) => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.elapsed() >= EVERY {
                    *last = Instant::now();
                    self.say(&text);
                }
            }
        }
    }

    /// Something to know besides, for people.
    pub(super) fn say(&self, text: &str) {
        match &self.to {
            To::Nobody => {}
            To::Terminal(bar) => bar.println(text),
            // A terminal that is gone takes nothing from the result.
            To::Lines(_) => drop(writeln!(io::stderr(), "{text}")),
        }
    }

    pub(super) fn clear(&self) {
        if let To::Terminal(bar) = &self.to {
            bar.finish_and_clear();
        }
    }
}
