//! What a board says about itself.

use std::collections::HashMap;
use std::str::FromStr;

use super::encoding::{Encoding, Order};
use crate::CacheError;

/// The number of a publication, below 2^53. A higher one is a newer one, after which no older one is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run(pub i64);

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a published board says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// The run that has published it.
    pub run: Run,
    /// Which window of time it is about, such as `2026-W47`.
    pub window: String,
    /// How its scores are written down.
    pub encoding: Encoding,
    /// How many members the board has altogether, of which the best may be all that is in Redis.
    pub members: u64,
    /// When it was published, in milliseconds of Unix time.
    pub published_ms: i64,
}

/// The fields of the companion that holds it; `size`, how many members are in Redis, the scripts add.
mod field {
    pub(super) const RUN: &str = "run";
    pub(super) const WINDOW: &str = "window";
    pub(super) const ORDER: &str = "order";
    pub(super) const BITS: &str = "bits";
    pub(super) const ORIGIN: &str = "origin";
    pub(super) const MEMBERS: &str = "members";
    pub(super) const PUBLISHED: &str = "published_ms";
}

const HIGHEST: &str = "highest";
const LOWEST: &str = "lowest";

impl Meta {
    /// The fields and their values.
    pub(super) fn fields(&self) -> [(&'static str, String); 7] {
        let order = match self.encoding.order() {
            Order::HighestFirst => HIGHEST,
            Order::LowestFirst => LOWEST,
        };
        let origin = self.encoding.origin_seconds().unwrap_or_default();
        [
            (field::RUN, self.run.to_string()),
            (field::WINDOW, self.window.clone()),
            (field::ORDER, order.to_owned()),
            (field::BITS, self.encoding.bits().to_string()),
            (field::ORIGIN, origin.to_string()),
            (field::MEMBERS, self.members.to_string()),
            (field::PUBLISHED, self.published_ms.to_string()),
        ]
    }

    /// Reads what [`Self::fields`] has written.
    pub(super) fn read(fields: &HashMap<String, String>) -> Result<Self, CacheError> {
        let order = match text(fields, field::ORDER)? {
            HIGHEST => Order::HighestFirst,
            LOWEST => Order::LowestFirst,
            other => return Err(CacheError::unreadable(format!("order: {other:?}"))),
        };
        let encoding = match number(fields, field::BITS)? {
            0 => Encoding::plain(order),
            bits => Encoding::earliest_first(order, bits, number(fields, field::ORIGIN)?)
                .map_err(|error| CacheError::unreadable(error.to_string()))?,
        };
        Ok(Self {
            run: Run(number(fields, field::RUN)?),
            window: text(fields, field::WINDOW)?.to_owned(),
            encoding,
            members: number(fields, field::MEMBERS)?,
            published_ms: number(fields, field::PUBLISHED)?,
        })
    }
}

/// How many members are in Redis, as the scripts have written it.
pub(super) fn size(fields: &HashMap<String, String>) -> Result<u64, CacheError> {
    number(fields, "size")
}

fn text<'a>(fields: &'a HashMap<String, String>, name: &str) -> Result<&'a str, CacheError> {
    let value = fields.get(name).map(String::as_str);
    value.ok_or_else(|| CacheError::unreadable(format!("there is no {name}")))
}

fn number<T: FromStr>(fields: &HashMap<String, String>, name: &str) -> Result<T, CacheError> {
    let value = text(fields, name)?;
    let number = value.parse();
    number.map_err(|_| CacheError::unreadable(format!("{name}: {value:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(meta: &Meta) -> HashMap<String, String> {
        let fields = meta.fields().into_iter();
        fields
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    #[test]
    fn what_is_written_is_read_again_and_what_is_not_says_where() {
        let weekly = Encoding::earliest_first(Order::LowestFirst, 20, -7).unwrap();
        for encoding in [weekly, Encoding::plain(Order::HighestFirst)] {
            let meta = Meta {
                run: Run((1 << 53) - 1),
                window: "2026-W47 {\"x\"}".to_owned(),
                encoding,
                members: u64::MAX,
                published_ms: -1,
            };
            let fields = written(&meta);
            assert_eq!(Meta::read(&fields).unwrap(), meta);
            for (name, _) in meta.fields() {
                let mut without = fields.clone();
                without.remove(name);
                // Without bits there is no origin.
                let is_needed = name != field::ORIGIN || encoding.bits() > 0;
                assert_eq!(Meta::read(&without).is_err(), is_needed, "{name}");
                let mut other = fields.clone();
                other.insert(name.to_owned(), "x".to_owned());
                let is_text = name == field::WINDOW;
                let error = Meta::read(&other);
                assert_eq!(error.is_ok(), is_text || !is_needed, "{name}");
            }
        }
    }
}
