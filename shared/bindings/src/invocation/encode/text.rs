//! A body as a text, where a function wants one.
//!
//! Bodies are UTF-8. One that is not may come from the old .NET client, which wrote a text through
//! .NET's binary XML: `<string xmlns="http://schemas.microsoft.com/2003/10/Serialization/">` and the
//! text in one or several records. The real host still reads those, and what is neither is decoded
//! lossily.

use std::borrow::Cow;

/// The start tag with its namespace: a short element `string`, and a short `xmlns` attribute.
const START: &[u8] = b"@\x06string\x083http://schemas.microsoft.com/2003/10/Serialization/";

/// The record that ends an element. A text record with an odd number ends it, too.
const END_ELEMENT: u8 = 0x01;

/// `body` as a text.
pub(super) fn body_text(body: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(body) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => match binary_xml_text(body) {
            Some(text) => Cow::Owned(text),
            None => String::from_utf8_lossy(body),
        },
    }
}

/// The content of a `string` element; `None` if `body` is none, or holds anything behind it.
fn binary_xml_text(body: &[u8]) -> Option<String> {
    let mut rest = body.strip_prefix(START)?;
    let mut text = String::new();
    loop {
        let kind;
        (kind, rest) = take_byte(rest)?;
        if kind == END_ELEMENT {
            break;
        }
        rest = push_record(&mut text, kind & !1, rest)?;
        if kind & 1 == 1 {
            break;
        }
    }
    rest.is_empty().then_some(text)
}

/// Appends the text of a record and returns what is behind it.
fn push_record<'a>(text: &mut String, kind: u8, rest: &'a [u8]) -> Option<&'a [u8]> {
    let short = match kind {
        0x80 => "0",
        0x82 => "1",
        0xA8 => "",
        _ => return push_characters(text, kind, rest),
    };
    text.push_str(short);
    Some(rest)
}

/// UTF-8 or UTF-16 with a length of one, two or four bytes.
fn push_characters<'a>(text: &mut String, kind: u8, rest: &'a [u8]) -> Option<&'a [u8]> {
    let width = match kind {
        0x98 | 0xB6 => 1,
        0x9A | 0xB8 => 2,
        0x9C | 0xBA => 4,
        _ => return None,
    };
    let (length, rest) = rest.split_at_checked(width)?;
    let length = length
        .iter()
        .rev()
        .fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
    let (bytes, rest) = rest.split_at_checked(length)?;
    if kind < 0xB0 {
        text.push_str(std::str::from_utf8(bytes).ok()?);
    } else {
        let units = bytes.chunks_exact(2);
        if !units.remainder().is_empty() {
            return None;
        }
        let units = units.map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        for character in char::decode_utf16(units) {
            text.push(character.ok()?);
        }
    }
    Some(rest)
}

fn take_byte(bytes: &[u8]) -> Option<(u8, &[u8])> {
    bytes.split_first().map(|(first, rest)| (*first, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(records: &[u8]) -> Vec<u8> {
        [START, records].concat()
    }

    #[test]
    fn a_text_in_binary_xml_is_read_in_every_form() {
        for (records, expected) in [
            (&b"\x99\x02hi"[..], "hi"),
            (b"\x98\x02hi\x01", "hi"),
            (b"\x98\x02hi\x9b\x02\x00\xc3\xa9", "hi\u{e9}"),
            (b"\x9d\x02\x00\x00\x00hi", "hi"),
            (b"\xb7\x04h\0i\0", "hi"),
            (b"\xb9\x02\x00\xe9\x00", "\u{e9}"),
            (b"\xa9", ""),
            (b"\x81", "0"),
            (b"\x83", "1"),
        ] {
            assert_eq!(body_text(&element(records)), expected, "{records:?}");
        }
    }

    #[test]
    fn what_is_neither_is_decoded_lossily() {
        assert_eq!(body_text(b"plain"), "plain");
        assert_eq!(body_text(b"a\xffb"), "a\u{fffd}b");
        for records in [
            &b""[..],
            b"\x99\x05hi",
            b"\x99\x02hi!",
            b"\x98\x02hi",
            b"\x9d\xff\xff\xff\xffhi",
            b"\xb7\x03h\0i",
            b"\xb7\x02\x00\xd8",
            b"\x77\x01",
        ] {
            let body = element(records);
            assert_eq!(body_text(&body), String::from_utf8_lossy(&body));
        }
    }
}
