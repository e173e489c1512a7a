//! Results on standard output.

use std::io::Write;

/// Writes `text` and an end of line. A reader who went away (`nightshift settings | head`) is not
/// an error of ours.
pub(crate) fn line(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
