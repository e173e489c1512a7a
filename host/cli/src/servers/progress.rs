//! Tells a person what is going on, line by line.
//!
//! Lines are plain unless they go to a terminal. A reader who went away (`make run | head`) is
//! not an error: the lines are then lost, and the work goes on.

use std::io::{IsTerminal, Write};
use std::time::Instant;

use nightshift_settings::Source;

const DIM: &str = "\x1b[2m";
const CYAN: &str = "\x1b[36m";
const RESET: &str = "\x1b[0m";

/// Width of the column that names what a line is about.
const COLUMN: usize = 10;

/// Where progress goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sink {
    Nowhere,
    Output,
    Errors,
}

/// Prints progress lines, each with the seconds since the beginning.
#[derive(Debug, Clone)]
pub struct Progress {
    sink: Sink,
    is_coloured: bool,
    begin: Instant,
}

impl Progress {
    /// Says nothing.
    pub fn quiet() -> Self {
        Self {
            sink: Sink::Nowhere,
            is_coloured: false,
            begin: Instant::now(),
        }
    }

    /// Prints to standard output.
    pub fn on_output(settings: &dyn Source) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let is_coloured = may_colour(settings, is_terminal);
        Self {
            sink: Sink::Output,
            is_coloured,
            begin: Instant::now(),
        }
    }

    /// Prints to standard error, for commands whose output belongs to somebody else.
    pub fn on_errors(settings: &dyn Source) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let is_coloured = may_colour(settings, is_terminal);
        Self {
            sink: Sink::Errors,
            is_coloured,
            begin: Instant::now(),
        }
    }

    /// Whether escape sequences for colours are understood.
    pub fn is_coloured(&self) -> bool {
        self.is_coloured
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> std::time::Duration {
        self.begin.elapsed()
    }

    /// One line: `what` happens to `who`.
    pub fn say(&self, who: &str, what: &str) {
        let seconds = self.begin.elapsed().as_secs_f64();
        self.print(&line(self.is_coloured, seconds, who, what));
    }

    /// Text as it is.
    pub fn print(&self, text: &str) {
        let written = match self.sink {
            Sink::Nowhere => Ok(()),
            Sink::Output => writeln!(std::io::stdout().lock(), "{text}"),
            Sink::Errors => writeln!(std::io::stderr().lock(), "{text}"),
        };
        // See the module's first lines.
        drop(written);
    }
}

/// Colours are for terminals, unless the user asked for none (<https://no-color.org>).
fn may_colour(settings: &dyn Source, is_terminal: bool) -> bool {
    is_terminal
        && settings.get("NO_COLOR").is_none()
        && settings.get("TERM").as_deref() != Some("dumb")
}

fn line(is_coloured: bool, seconds: f64, who: &str, what: &str) -> String {
    if is_coloured {
        format!("{DIM}{seconds:6.1} s{RESET}  {CYAN}{who:COLUMN$}{RESET} {what}")
    } else {
        format!("{seconds:6.1} s  {who:COLUMN$} {what}")
    }
}

#[cfg(test)]
mod tests {
    use nightshift_settings::MapSource;

    use super::*;

    #[test]
    fn lines_are_plain_without_a_terminal() {
        assert_eq!(
            line(false, 1.25, "redis", "ready"),
            "   1.2 s  redis      ready"
        );
        assert!(line(true, 1.25, "redis", "ready").contains("\x1b[36mredis"));
    }

    #[test]
    fn colour_needs_a_terminal_and_consent() {
        let none = MapSource::default();
        let refused: MapSource = [("NO_COLOR", "1")].into_iter().collect();
        assert!(may_colour(&none, true));
        assert!(!may_colour(&none, false));
        assert!(!may_colour(&refused, true));
    }
}
