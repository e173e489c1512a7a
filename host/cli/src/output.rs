//! Results on standard output.

use std::io::Write;

/// `text` without anything that a terminal would take for a command.
pub(crate) fn printable(text: &str) -> String {
    let printable = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
    text.chars().map(printable).collect()
}

/// Writes `text` and an end of line. A reader who went away (`nightshift settings | head`) is not
/// an error of ours.
pub(crate) fn line(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
