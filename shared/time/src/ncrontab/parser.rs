//! From text to [`Crontab`].
//!
//! `field := item{,item}`, `item := (* | value | value-value)[/step]`. The corner cases are those
//! of the `NCrontab` library: `v/step` runs to the field's end, a reversed range is swapped, a step
//! of zero or less is 1, and numbers go through .NET's integer parser, which forgives blanks
//! around a number and a sign before it (the sign only in a step, since a value has to begin with
//! a digit).

use std::ops::Range;

use super::crontab::Crontab;
use super::error::{ParseError, Reason, quote};
use super::field::Field;
use super::values::Values;

/// What .NET's integer parser takes for a blank.
const BLANKS: [char; 6] = [' ', '\t', '\n', '\u{b}', '\u{c}', '\r'];

/// A piece of an expression and the byte at which it begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) at: usize,
    pub(super) text: &'a str,
}

impl Piece<'_> {
    pub(super) const fn range(self) -> Range<usize> {
        self.at..self.at + self.text.len()
    }

    fn split(self, separator: char) -> impl Iterator<Item = Self> {
        let mut at = self.at;
        self.text.split(separator).map(move |text| {
            let piece = Self { at, text };
            at += text.len() + separator.len_utf8();
            piece
        })
    }

    /// What is before and after the first `separator`.
    fn split_once(self, separator: char) -> Option<(Self, Self)> {
        let (before, after) = self.text.split_once(separator)?;
        let at = self.at + before.len() + separator.len_utf8();
        let before = Self {
            at: self.at,
            text: before,
        };
        Some((before, Self { at, text: after }))
    }

    /// The first character that `is_it` accepts, as a piece.
    fn find(self, is_it: impl Fn(char) -> bool) -> Option<Self> {
        let (index, character) = self
            .text
            .char_indices()
            .find(|(_, character)| is_it(*character))?;
        Some(Self {
            at: self.at + index,
            text: self.text.get(index..index + character.len_utf8())?,
        })
    }
}

/// The fields of `text`: what the spaces leave.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    Piece { at: 0, text }
        .split(' ')
        .filter(|piece| !piece.text.is_empty())
        .collect()
}

/// Reads `pieces`, the five or six fields of `text`.
pub(super) fn crontab(text: &str, pieces: &[Piece<'_>]) -> Result<Crontab, ParseError> {
    let fields = match pieces.len() {
        5 => &Field::ALL[1..],
        6 => &Field::ALL[..],
        found => return Err(field_count(text, pieces, found)),
    };
    let mut values = [Values::every(0, 0, 1); 6];
    let skipped = Field::ALL.len() - fields.len();
    for (slot, (field, piece)) in values[skipped..].iter_mut().zip(fields.iter().zip(pieces)) {
        *slot = FieldParser {
            text,
            field: *field,
        }
        .field(*piece)?;
    }
    Crontab::new(values, skipped == 0).ok_or_else(|| {
        let day = pieces[3 - skipped];
        let month = pieces[4 - skipped];
        let at = day.at..month.range().end;
        ParseError::new(text, at, Some(Field::DayOfMonth), Reason::NeverOccurs)
    })
}

/// The error for any other number of fields, at the first one too many or where one is missing.
fn field_count(text: &str, pieces: &[Piece<'_>], found: usize) -> ParseError {
    if let Some(first) = pieces.first().filter(|piece| piece.text.starts_with('@')) {
        return ParseError::new(text, first.range(), None, Reason::Macro);
    }
    let blank = pieces
        .iter()
        .find_map(|piece| piece.find(char::is_whitespace));
    if let Some(blank) = blank {
        return ParseError::new(text, blank.range(), None, Reason::NotASpace);
    }
    let at = match pieces.get(6) {
        Some(extra) => extra.at..text.trim_end_matches(' ').len(),
        None => text.len()..text.len(),
    };
    ParseError::new(text, at, None, Reason::FieldCount { found })
}

/// Reads one field of `text`.
struct FieldParser<'a> {
    text: &'a str,
    field: Field,
}

impl FieldParser<'_> {
    fn error(&self, at: Range<usize>, reason: Reason) -> ParseError {
        ParseError::new(self.text, at, Some(self.field), reason)
    }

    fn field(&self, piece: Piece<'_>) -> Result<Values, ParseError> {
        piece
            .split(',')
            .try_fold(Values::default(), |values, item| {
                self.item(item).map(|more| values.union(more))
            })
    }

    fn item(&self, item: Piece<'_>) -> Result<Values, ParseError> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step)?)),
            None => (item, None),
        };
        let field = self.field;
        let (first, last) = if range.text == "*" {
            (field.first(), field.last())
        } else if let Some((first, last)) = self.split_range(range)? {
            let (first, last) = (self.value(first)?, self.value(last)?);
            (first.min(last), first.max(last))
        } else {
            let value = self.value(range)?;
            (value, if step.is_some() { field.last() } else { value })
        };
        Ok(Values::every(first, last, step.unwrap_or(1)))
    }

    /// The ends of a range, unless `range` is a single value.
    fn split_range<'p>(
        &self,
        range: Piece<'p>,
    ) -> Result<Option<(Piece<'p>, Piece<'p>)>, ParseError> {
        let Some((first, last)) = range.split_once('-') else {
            return Ok(None);
        };
        if first.text.is_empty() {
            return Err(self.error(range.at..last.at, Reason::Signed));
        }
        if last.text.starts_with('-') {
            return Err(self.error(last.at..last.at + 1, Reason::Signed));
        }
        match last.find(|character| character == '-') {
            Some(second) => Err(self.error(second.range(), Reason::SecondDash)),
            None => Ok(Some((first, last))),
        }
    }

    fn value(&self, value: Piece<'_>) -> Result<u32, ParseError> {
        match value.text.chars().next() {
            None => Err(self.error(value.range(), Reason::MissingValue)),
            Some('+' | '-') => Err(self.error(value.at..value.at + 1, Reason::Signed)),
            Some('0'..='9') => self.numeric_value(value),
            Some(_) => {
                let named = self.field.named(value.text);
                named.ok_or_else(|| self.not_a_value(value))
            }
        }
    }

    fn numeric_value(&self, value: Piece<'_>) -> Result<u32, ParseError> {
        let (first, last) = (self.field.first(), self.field.last());
        let number = self.number(value, value.text.trim_end_matches(BLANKS))?;
        // It begins with a digit, so it is not negative.
        let number = number.unsigned_abs();
        if (first..=last).contains(&number) {
            return Ok(number);
        }
        let reason = Reason::OutOfRange {
            value: number,
            first,
            last,
        };
        Err(self.error(value.range(), reason))
    }

    fn step(&self, step: Piece<'_>) -> Result<u32, ParseError> {
        if step.text.is_empty() {
            return Err(self.error(step.range(), Reason::MissingValue));
        }
        if let Some(second) = step.find(|character| character == '/') {
            return Err(self.error(second.range(), Reason::SecondSlash));
        }
        let number = self.number(step, step.text.trim_matches(BLANKS))?;
        Ok(u32::try_from(number).map_or(1, |number| number.max(1)))
    }

    /// `digits`, the number in `piece`, as .NET's 32-bit parser reads it.
    fn number(&self, piece: Piece<'_>, digits: &str) -> Result<i32, ParseError> {
        let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
        let is_number = !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number {
            return Err(self.not_a_value(piece));
        }
        digits.parse().map_err(|_| {
            let text = quote(digits);
            self.error(piece.range(), Reason::TooLarge { text })
        })
    }

    /// The error for a piece that is no value, at the character that makes it none if one does.
    fn not_a_value(&self, piece: Piece<'_>) -> ParseError {
        if let Some(blank) = piece.find(char::is_whitespace) {
            return self.error(blank.range(), Reason::NotASpace);
        }
        let foreign = match piece
            .text
            .trim_start_matches(|digit: char| digit.is_ascii_digit())
        {
            "L" | "LW" => Some((piece, 'L')),
            "W" => Some((piece, 'W')),
            _ => ['?', '#']
                .into_iter()
                .find_map(|sign| Some((piece.find(|found| found == sign)?, sign))),
        };
        if let Some((at, sign)) = foreign {
            return self.error(at.range(), Reason::Foreign(sign));
        }
        let reason = Reason::NotAValue {
            text: quote(piece.text),
            has_names: !self.field.names().is_empty(),
        };
        self.error(piece.range(), reason)
    }
}
