//! What dead letters of the same cause have in common.

use sha2::{Digest, Sha256};

/// The fingerprint of a failure of `function` for `reason`, 16 hexadecimal digits. Of the description
/// only the words count: numbers, ids, and what stands in quotes differ from message to message.
pub(crate) fn fingerprint(function: &str, reason: &str, description: &str) -> String {
    let mut hash = Sha256::new();
    for part in [function, reason] {
        hash.update(part);
        hash.update([0]);
    }
    for word in words(description) {
        hash.update(word);
        hash.update([0]);
    }
    let mut half = [0; 8];
    half.copy_from_slice(&hash.finalize()[..8]);
    format!("{:016x}", u64::from_be_bytes(half))
}

/// The words of `text` without a digit, outside of double quotes and backticks.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let unquoted = text.split(['"', '`']).step_by(2);
    let words = unquoted.flat_map(|part| part.split(|c: char| !(c.is_alphanumeric() || c == '-')));
    words.filter(|word| !word.is_empty() && !word.contains(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(description: &str) -> String {
        fingerprint("f", "unknown-user", description)
    }

    #[test]
    fn what_differs_from_message_to_message_does_not_count() {
        let one = of("user_id: there is no user 7f3c-11, try 3 of \"a b\"");
        assert_eq!(one, of("user_id: there is no user 12ab-9, try 12 of \"c\""));
        assert_eq!(one.len(), 16);
        assert_ne!(
            one,
            of("user_id: there is no group 7f3c-11, try 3 of \"a b\"")
        );
        assert_ne!(
            one,
            fingerprint("g", "unknown-user", "user_id: there is no user")
        );
    }
}
