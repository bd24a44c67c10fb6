//! What is being tried, for whoever waits at a terminal.

use std::time::Duration;

use indicatif::ProgressBar;

/// How often the line moves.
const EVERY: Duration = Duration::from_millis(200);

/// A line on stderr while it lasts; nothing where that is no terminal.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn shown() -> Self {
        let line = ProgressBar::new_spinner();
        line.enable_steady_tick(EVERY);
        Self(line)
    }

    /// Says what is being done.
    pub(super) fn at(&self, doing: &'static str) {
        self.0.set_message(doing);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
