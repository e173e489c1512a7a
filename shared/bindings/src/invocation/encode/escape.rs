//! JSON string escapes, one or two literals deep.
//!
//! The contract puts JSON text into JSON strings, so a producer's text ends up inside two string
//! literals. Writing both escapes at once saves a copy of every body and every property. The set
//! of escaped characters is that of the real host's JSON writer: quotes, backslashes, control
//! characters, and the three line separators that JavaScript once could not read.

use std::io;

/// How many string literals the text stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    One,
    Two,
}

/// Bytes that end a run which can be copied as it is. `0xC2` and `0xE2` merely may begin one of
/// the separators U+0085, U+2028 and U+2029.
const ATTENTION: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table[0xC2] = true;
    table[0xE2] = true;
    table
};

/// Appends `text` escaped for a place inside `depth` string literals, without quotes.
pub(super) fn push_escaped(out: &mut Vec<u8>, text: &str, depth: Depth) {
    push_escaped_bytes(out, text.as_bytes(), depth);
}

fn push_escaped_bytes(out: &mut Vec<u8>, mut rest: &[u8], depth: Depth) {
    while let Some(clean) = rest.iter().position(|byte| ATTENTION[usize::from(*byte)]) {
        out.extend_from_slice(&rest[..clean]);
        let tail = &rest[clean..];
        let taken = match tail {
            [0xC2, 0x85, ..] => push_sequence(out, b"\\u0085", depth, 2),
            [0xE2, 0x80, 0xA8, ..] => push_sequence(out, b"\\u2028", depth, 3),
            [0xE2, 0x80, 0xA9, ..] => push_sequence(out, b"\\u2029", depth, 3),
            [b'"', ..] => push_sequence(out, b"\\\"", depth, 1),
            [b'\\', ..] => push_sequence(out, b"\\\\", depth, 1),
            [b'\n', ..] => push_sequence(out, b"\\n", depth, 1),
            [b'\r', ..] => push_sequence(out, b"\\r", depth, 1),
            [b'\t', ..] => push_sequence(out, b"\\t", depth, 1),
            [0x08, ..] => push_sequence(out, b"\\b", depth, 1),
            [0x0C, ..] => push_sequence(out, b"\\f", depth, 1),
            [control @ ..0x20, ..] => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let (high, low) = (usize::from(control >> 4), usize::from(control & 0xF));
                push_sequence(
                    out,
                    &[b'\\', b'u', b'0', b'0', HEX[high], HEX[low]],
                    depth,
                    1,
                )
            }
            [other, ..] => {
                out.push(*other);
                1
            }
            [] => return,
        };
        rest = &tail[taken..];
    }
    out.extend_from_slice(rest);
}

/// Appends the escape sequence of a character of `length` bytes, which it returns.
fn push_sequence(out: &mut Vec<u8>, sequence: &[u8], depth: Depth, length: usize) -> usize {
    for byte in sequence {
        if depth == Depth::Two && matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    length
}

/// Appends `json`, a valid JSON text, to the inside of a string literal, without the white space
/// between its tokens.
pub(super) fn push_compact_json(out: &mut Vec<u8>, json: &str) {
    let mut is_in_string = false;
    let mut start = 0;
    let mut bytes = json.bytes().enumerate();
    while let Some((index, byte)) = bytes.next() {
        match byte {
            b'"' => is_in_string = !is_in_string,
            b'\\' if is_in_string => drop(bytes.next()),
            b' ' | b'\t' | b'\n' | b'\r' if !is_in_string => {
                push_escaped_bytes(out, &json.as_bytes()[start..index], Depth::One);
                start = index + 1;
            }
            _ => {}
        }
    }
    push_escaped_bytes(out, &json.as_bytes()[start..], Depth::One);
}

/// A writer into the inside of a string literal, for serializers. Each write must hold whole
/// characters, which is how a JSON serializer writes.
pub(super) struct EscapedWriter<'a>(pub(super) &'a mut Vec<u8>);

impl io::Write for EscapedWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        push_escaped_bytes(self.0, bytes, Depth::One);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str, depth: Depth) -> String {
        let mut out = Vec::new();
        push_escaped(&mut out, text, depth);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_special_character_has_its_sequence() {
        let text = "a\"b\\c\n\r\t\u{8}\u{c}\u{1}\u{1f}\u{85}\u{2028}\u{2029}é\u{2027}\u{7f}/";
        assert_eq!(
            escaped(text, Depth::One),
            "a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0001\\u001f\\u0085\\u2028\\u2029é\u{2027}\u{7f}/"
        );
        assert_eq!(
            escaped("a\"\\\n\u{1}", Depth::Two),
            r#"a\\\"\\\\\\n\\u0001"#
        );
    }

    #[test]
    fn json_loses_its_white_space_outside_strings_only() {
        let mut out = Vec::new();
        push_compact_json(&mut out, "{ \"a b\" : [ 1 ,\n\"\\\" c\" ] }");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{\"a b\":[1,\"\\\" c\"]}"#
        );
    }

    proptest! {
        #[test]
        fn any_text_comes_back_from_one_and_from_two_literals(text in any::<String>()) {
            let one = format!("\"{}\"", escaped(&text, Depth::One));
            prop_assert_eq!(&serde_json::from_str::<String>(&one).unwrap(), &text);
            let two = format!("\"\\\"{}\\\"\"", escaped(&text, Depth::Two));
            let inner: String = serde_json::from_str(&two).unwrap();
            prop_assert_eq!(&serde_json::from_str::<String>(&inner).unwrap(), &text);
        }
    }
}
