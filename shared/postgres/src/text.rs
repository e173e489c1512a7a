//! Texts that any column takes.

/// The longest text that is stored in one column, in characters; a service's own limit for a
/// dead-letter description is the same.
const MAX_CHARS: usize = 4096;

/// `text` without what the database refuses (NUL) and without what is too long.
pub(crate) fn storable(text: &str) -> String {
    text.chars()
        .map(|c| if c == '\0' { '\u{fffd}' } else { c })
        .take(MAX_CHARS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_lose_what_cannot_be_stored() {
        assert_eq!(storable("a\0b"), "a\u{fffd}b");
        assert_eq!(storable(&"ü".repeat(5000)).chars().count(), MAX_CHARS);
    }
}
