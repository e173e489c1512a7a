//! Blanking out what people put into JSON that JSON does not have: comments and trailing commas.
//!
//! Everything else stays where it was, so that a parser's line and column are those of the file.

/// The text with every comment and trailing comma replaced by spaces. An unterminated comment or
/// string is left to the parser, which says where it is.
pub(super) fn blank(text: &str) -> String {
    let mut out = text.as_bytes().to_vec();
    let mut comma = None;
    let mut at = 0;
    while at < out.len() {
        match out[at] {
            b'"' => {
                at = end_of_string(&out, at);
                comma = None;
                continue;
            }
            b'/' => {
                if let Some(end) = end_of_comment(&out, at) {
                    let visible = out[at..end].iter_mut().filter(|byte| **byte != b'\n');
                    visible.for_each(|byte| *byte = b' ');
                    at = end;
                    continue;
                }
                comma = None;
            }
            b',' => comma = Some(at),
            b'}' | b']' => {
                if let Some(comma) = comma.take() {
                    out[comma] = b' ';
                }
            }
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => comma = None,
        }
        at += 1;
    }
    // Only whole comments and ASCII commas were replaced, so it is still text.
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

fn end_of_string(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

fn end_of_comment(text: &[u8], start: usize) -> Option<usize> {
    let rest = &text[start..];
    if rest.starts_with(b"//") {
        let length = rest.iter().position(|byte| *byte == b'\n');
        return Some(start + length.unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        let end = rest[2..].windows(2).position(|pair| pair == b"*/")?;
        return Some(start + 2 + end + 2);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_trailing_commas_become_blanks_of_the_same_length() {
        for (text, expected) in [
            ("{} // end", "{}       "),
            ("[1, /* zż\n */ 2,\n]", "[1,       \n    2 \n]"),
            ("[1, // one\n]", "[1        \n]"),
            (r#"{"a": "// no, ]",}"#, r#"{"a": "// no, ]" }"#),
            (r#"["\"/*", 1]"#, r#"["\"/*", 1]"#),
            ("[1,, /]", "[1,, /]"),
        ] {
            assert_eq!(blank(text), expected);
            assert_eq!(blank(text).len(), text.len());
        }
    }

    #[test]
    fn what_is_not_closed_stays() {
        for text in ["/* ", "\"abc", "\"\\", "/", "//", ""] {
            assert_eq!(blank(text).len(), text.len());
        }
        assert_eq!(blank("[/* ]"), "[/* ]");
    }
}
