//! Names of callers that others have given them, as the audit may say them.

/// The longest of them, in characters.
const LONGEST: usize = 128;

/// `text` without what could make it look like something else in a log or a table: letters and
/// digits of all scripts stay, and so do signs that addresses have.
pub(super) fn clean(text: &str) -> String {
    let stays = |c: char| c.is_alphanumeric() || "-_.@#+'!/:".contains(c);
    let chars = text.chars().take(LONGEST);
    chars.map(|c| if stays(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_stay_and_what_could_mislead_does_not() {
        for (text, cleaned) in [
            ("ada@example.com", "ada@example.com"),
            ("ada_x.org#EXT#@y.example", "ada_x.org#EXT#@y.example"),
            ("Zoë O'Neil", "Zoë_O'Neil"),
            ("ada (oid 1)\r\nkey:eve", "ada__oid_1___key:eve"),
            ("a\u{202e}b\u{0}c\u{7f}", "a_b_c_"),
        ] {
            assert_eq!(clean(text), cleaned);
        }
    }

    proptest! {
        #[test]
        fn no_name_is_long_or_has_control_characters(text in "(?s).{0,300}") {
            let cleaned = clean(&text);
            prop_assert!(cleaned.chars().count() <= LONGEST);
            prop_assert!(!cleaned.chars().any(|c| c.is_control() || c.is_whitespace()));
        }
    }
}
