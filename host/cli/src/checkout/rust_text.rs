//! A Rust source with its literals apart from its code.

use std::ops::Range;

/// A source whose comments and the insides of whose literals are blank, byte for byte, so that brackets
/// and words that are left are code.
#[derive(Debug, Clone)]
pub(crate) struct RustText {
    pub(crate) code: String,
    pub(crate) literals: Vec<Literal>,
}

/// A text literal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Literal {
    /// Where it begins.
    pub(crate) at: usize,
    /// What stands between its quotes.
    pub(crate) value: String,
}

impl RustText {
    pub(crate) fn read(text: &str) -> Self {
        let mut scan = Scan {
            text: text.as_bytes(),
            code: text.as_bytes().to_vec(),
            literals: Vec::new(),
        };
        let mut at = 0;
        while at < scan.text.len() {
            at = scan.step(at);
        }
        let mut found = Self {
            code: String::from_utf8_lossy(&scan.code).into_owned(),
            literals: scan.literals,
        };
        found.literals.iter_mut().for_each(|literal| {
            let value = text.get(literal.at..).and_then(inside).unwrap_or_default();
            value.clone_into(&mut literal.value);
        });
        found
    }

    /// The same without what is only compiled for tests.
    pub(crate) fn without_tests(mut self) -> Self {
        while let Some(begin) = self.code.find("#[cfg(test)]") {
            let rest = self.code.get(begin..).unwrap_or_default();
            let end = match rest.find(['{', ';']) {
                Some(at) if rest.as_bytes().get(at) == Some(&b'{') => {
                    self.block_end(begin + at).unwrap_or(self.code.len())
                }
                Some(at) => begin + at + 1,
                None => self.code.len(),
            };
            let blank = " ".repeat(end - begin);
            self.code.replace_range(begin..end, &blank);
            self.literals
                .retain(|literal| !(begin..end).contains(&literal.at));
        }
        self
    }

    /// Where the bracket that opens at `open` has been closed.
    pub(crate) fn block_end(&self, open: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for (at, byte) in self.code.bytes().enumerate().skip(open) {
            match byte {
                b'{' | b'(' | b'[' => depth += 1,
                b'}' | b')' | b']' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// The literals in `range`.
    pub(crate) fn literals_in(&self, range: Range<usize>) -> impl Iterator<Item = &Literal> {
        let literals = self.literals.iter();
        literals.filter(move |literal| range.contains(&literal.at))
    }

    /// The literal that `name` is in `range`: `const NAME: … = "…";`, or that behind `name:` in an
    /// expression. A constant of this file in its place counts as what it is.
    pub(crate) fn value_of(&self, name: &str, range: Range<usize>) -> Option<&Literal> {
        let body = self.code.get(range.clone())?;
        let found = body.match_indices(name).find(|(at, _)| {
            let before = body.get(..*at).and_then(|text| text.chars().last());
            !before.is_some_and(is_word)
        });
        let begin = range.start + found?.0 + name.len();
        let rest = self.code.get(begin..range.end)?;
        let end = begin + rest.find([';', ',', '}']).unwrap_or(rest.len());
        if let Some(literal) = self.literals_in(begin..end).next() {
            return Some(literal);
        }
        let word = self
            .code
            .get(begin..end)?
            .trim_matches([':', '=', ' ', '\n']);
        let is_constant = !word.is_empty() && word.chars().all(is_word) && !name.ends_with(word);
        is_constant.then(|| self.constant(word)).flatten()
    }

    /// The literal of the constant `name` anywhere in this file.
    pub(crate) fn constant(&self, name: &str) -> Option<&Literal> {
        let head = format!("const {name}:");
        let at = self.code.find(&head)?;
        let end = at + self.code.get(at..)?.find(';')?;
        self.literals_in(at..end).next()
    }
}

/// Whether `letter` can be in a name.
pub(crate) fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// What the literal at the beginning of `text` holds.
fn inside(text: &str) -> Option<&str> {
    let open = text.find('"')? + 1;
    let hashes = text.get(..open)?.matches('#').count();
    if text.starts_with(['r', '#']) || hashes > 0 {
        let end = format!("\"{}", "#".repeat(hashes));
        let rest = text.get(open..)?;
        return rest.get(..rest.find(&end)?);
    }
    let rest = text.get(open..)?;
    let mut is_escaped = false;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            b'\\' if !is_escaped => is_escaped = true,
            b'"' if !is_escaped => return rest.get(..at),
            _ => is_escaped = false,
        }
    }
    None
}

struct Scan<'a> {
    text: &'a [u8],
    code: Vec<u8>,
    literals: Vec<Literal>,
}

impl Scan<'_> {
    fn starts(&self, at: usize, what: &[u8]) -> bool {
        self.text
            .get(at..)
            .is_some_and(|rest| rest.starts_with(what))
    }

    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    fn blank(&mut self, range: Range<usize>) {
        let end = range.end.min(self.code.len());
        for byte in self.code.get_mut(range.start..end).into_iter().flatten() {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }

    /// Reads what is at `at` and returns where the next thing is.
    fn step(&mut self, at: usize) -> usize {
        if self.starts(at, b"//") {
            let rest = self.text.get(at..).unwrap_or_default();
            let length = rest.iter().position(|byte| *byte == b'\n');
            let end = at + length.unwrap_or(rest.len());
            self.blank(at..end);
            return end;
        }
        if self.starts(at, b"/*") {
            let end = self.comment_end(at);
            self.blank(at..end);
            return end;
        }
        let is_in_word = at > 0 && is_word(char::from(self.byte(at - 1)));
        match self.byte(at) {
            b'"' => self.literal(at, at, 0),
            b'r' if !is_in_word || self.byte(at - 1) == b'b' => {
                let hashes = self.text.get(at + 1..).unwrap_or_default();
                let hashes = hashes.iter().take_while(|byte| **byte == b'#').count();
                if self.byte(at + 1 + hashes) == b'"' {
                    self.literal(at, at + 1 + hashes, hashes)
                } else {
                    at + 1
                }
            }
            b'\'' => self.character(at),
            _ => at + 1,
        }
    }

    fn comment_end(&self, at: usize) -> usize {
        let (mut depth, mut at) = (0_usize, at);
        while at < self.text.len() {
            if self.starts(at, b"/*") {
                (depth, at) = (depth + 1, at + 2);
            } else if self.starts(at, b"*/") {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            } else {
                at += 1;
            }
        }
        self.text.len()
    }

    /// A literal that begins at `at`, whose quote is at `quote`; raw ones end with so many `hashes`.
    fn literal(&mut self, at: usize, quote: usize, hashes: usize) -> usize {
        let is_raw = quote > at;
        let mut end = quote + 1;
        while end < self.text.len() {
            match self.byte(end) {
                b'\\' if !is_raw => end += 1,
                b'"' if self.starts(end + 1, "#".repeat(hashes).as_bytes()) => break,
                _ => {}
            }
            end += 1;
        }
        self.blank(quote + 1..end);
        self.literals.push(Literal {
            at,
            value: String::new(),
        });
        end + 1 + hashes
    }

    /// A character, or the beginning of a lifetime.
    fn character(&mut self, at: usize) -> usize {
        if self.byte(at + 1) == b'\\' {
            let rest = self.text.get(at + 3..).unwrap_or_default();
            let length = rest.iter().position(|byte| *byte == b'\'');
            let end = at + 3 + length.unwrap_or(0);
            self.blank(at + 1..end);
            return end + 1;
        }
        let rest = self.text.get(at + 1..).unwrap_or_default();
        // A character has at most four bytes.
        let length = rest.iter().take(5).position(|byte| *byte == b'\'');
        match length {
            Some(length) if std::str::from_utf8(&rest[..length]).is_ok_and(is_one) => {
                self.blank(at + 1..at + 1 + length);
                at + length + 2
            }
            _ => at + 1,
        }
    }
}

fn is_one(text: &str) -> bool {
    text.chars().count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r##"
// "no literal" {
/* nor /* "this" */ { */
const NAME: &'static str = "a\"b"; // }
fn f<'a>(c: char) { let _ = ('{', '\'', "}", r#"raw "} text"#); }
const OTHER: &str = NAME;
#[cfg(test)]
mod tests { const HIDDEN: &str = "hidden"; }
static S: T = T { cron: "0 0", zone: OTHER_ZONE };
const OTHER_ZONE: &str = "UTC";
"##;

    #[test]
    fn literals_and_comments_are_told_from_code() {
        let text = RustText::read(SOURCE);
        assert_eq!(text.code.len(), SOURCE.len());
        let values: Vec<&str> = text.literals.iter().map(|l| l.value.as_str()).collect();
        let expected = ["a\\\"b", "}", "raw \"} text", "hidden", "0 0", "UTC"];
        assert_eq!(values, expected);
        let open = text.code.find("(c: char) {").unwrap() + 10;
        let end = text.block_end(open).unwrap();
        assert!(SOURCE[..end].ends_with("); }"), "{}", &SOURCE[..end]);
    }

    #[test]
    fn values_are_found_by_name_and_tests_left_out() {
        let text = RustText::read(SOURCE).without_tests();
        let all = 0..text.code.len();
        let value = |name: &str| Some(text.value_of(name, all.clone())?.value.as_str());
        assert_eq!(value("const NAME"), Some("a\\\"b"));
        assert_eq!(value("cron"), Some("0 0"));
        assert_eq!(value("zone"), Some("UTC"));
        assert_eq!(value("HIDDEN"), None);
    }
}
