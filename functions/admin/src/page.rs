//! Lists, a page at a time. A cursor says after which row the next page begins.
//!
//! A page has a bounded cost: when a filter lets little through, so many rows are looked at and no more,
//! and the page may be short, or empty, although there is another one.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::ask::storable_time;
use crate::problem::Problem;

/// How many rows a page has if nobody says.
const ROWS: u32 = 50;

/// The most rows of a page.
const MOST_ROWS: u32 = 200;

/// How many rows are looked at for a page.
pub(crate) const WINDOW: i64 = 1_000;

/// A page.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// The rows.
    pub(crate) items: Vec<T>,
    /// What to ask for the next page with; absent on the last. A page may be short, or empty, and not the
    /// last: only so many rows are looked at for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

/// How many rows are wanted.
pub(crate) fn rows(wanted: Option<u32>) -> Result<usize, Problem> {
    let rows = wanted.unwrap_or(ROWS);
    if (1..=MOST_ROWS).contains(&rows) {
        return Ok(rows as usize);
    }
    Err(Problem::bad_request(format!(
        "limit must be 1 to {MOST_ROWS}"
    )))
}

/// Where a page ends: a time, and what tells rows of the same time apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    #[serde(rename = "t", with = "chrono::serde::ts_microseconds")]
    pub(crate) at: DateTime<Utc>,
    #[serde(rename = "i")]
    pub(crate) id: String,
}

/// A place, and the list that it is in.
#[derive(Serialize, Deserialize)]
struct Cursor {
    #[serde(flatten)]
    place: Place,
    #[serde(rename = "q")]
    query: String,
}

/// Writes a cursor for `place` in the list that `query` asks for.
pub(crate) fn write<Q: Serialize>(place: Place, query: &Q) -> Result<String, Problem> {
    let cursor = Cursor {
        place,
        query: fingerprint(query)?,
    };
    let json =
        serde_json::to_vec(&cursor).map_err(|error| Problem::bad_request(error.to_string()))?;
    Ok(base64_simd::URL_SAFE_NO_PAD.encode_to_string(json))
}

/// Reads a cursor of the list that `query` asks for.
pub(crate) fn read<Q: Serialize>(
    cursor: Option<&str>,
    query: &Q,
) -> Result<Option<Place>, Problem> {
    let Some(text) = cursor else {
        return Ok(None);
    };
    let altered = || Problem::bad_request("cursor is none that this API has given out");
    let json = base64_simd::URL_SAFE_NO_PAD
        .decode_to_vec(text)
        .map_err(|_| altered())?;
    let cursor: Cursor = serde_json::from_slice(&json).map_err(|_| altered())?;
    if cursor.place.id.contains('\0') || storable_time("cursor", cursor.place.at).is_err() {
        return Err(altered());
    }
    if cursor.query != fingerprint(query)? {
        return Err(Problem::bad_request(
            "cursor is one of another list: ask with the same filters as for the page before",
        ));
    }
    Ok(Some(cursor.place))
}

fn fingerprint<Q: Serialize>(query: &Q) -> Result<String, Problem> {
    let json =
        serde_json::to_vec(query).map_err(|error| Problem::bad_request(error.to_string()))?;
    let hash = Sha256::digest(json);
    Ok(base64_simd::URL_SAFE_NO_PAD.encode_to_string(&hash[..9]))
}

/// How many rows are looked at for a page of `limit`: no more than that and one if all are wanted.
pub(crate) fn window(limit: usize, is_filtered: bool) -> i64 {
    let exactly = i64::try_from(limit).unwrap_or(WINDOW).saturating_add(1);
    if is_filtered { WINDOW } else { exactly }
}

/// Makes a page of `looked_at`, what was looked at for it in order, at most `window` rows, of which `row`
/// makes those that are wanted.
pub(crate) fn fill<R, T, Q: Serialize>(
    looked_at: Vec<R>,
    window: i64,
    limit: usize,
    query: &Q,
    place: impl Fn(&R) -> Place,
    row: impl Fn(R) -> Option<T>,
) -> Result<Page<T>, Problem> {
    let is_all = i64::try_from(looked_at.len()).is_ok_and(|looked_at| looked_at < window);
    let count = looked_at.len();
    let mut items = Vec::new();
    let mut last = None;
    for (n, looked) in looked_at.into_iter().enumerate() {
        last = Some(place(&looked));
        items.extend(row(looked));
        if items.len() == limit {
            let is_last = is_all && n + 1 == count;
            let next = (!is_last).then(|| last.map(|place| write(place, query)));
            let next = next.flatten().transpose()?;
            return Ok(Page { items, next });
        }
    }
    let next = last.filter(|_| !is_all).map(|place| write(place, query));
    Ok(Page {
        items,
        next: next.transpose()?,
    })
}

impl<K> Page<K> {
    /// The page with what `of` knows of each item; what is gone by now is left out.
    pub(crate) fn map<T>(self, of: impl FnMut(K) -> Option<T>) -> Page<T> {
        Page {
            items: self.items.into_iter().filter_map(of).collect(),
            next: self.next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(n: i64) -> Place {
        Place {
            at: DateTime::from_timestamp(n, 123_456_000).unwrap(),
            id: n.to_string(),
        }
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_for_its_list_only() {
        let text = write(place(7), &("runs", 1)).unwrap();
        assert_eq!(read(Some(&text), &("runs", 1)).unwrap(), Some(place(7)));
        let other = read(Some(&text), &("runs", 2)).unwrap_err();
        assert!(other.detail.contains("another list"), "{other}");
        for altered in ["", "%", &text[1..], &text[..text.len() - 1], "eyJ0IjoxfQ"] {
            assert!(read(Some(altered), &("runs", 1)).is_err(), "{altered}");
        }
    }

    #[test]
    fn pages_together_have_every_row_once() {
        let all: Vec<i64> = (0..2_500).collect();
        let (mut seen, mut from, mut pages) = (Vec::new(), 0, 0);
        loop {
            let window = all[from..].iter().copied().take(1_000).collect();
            // Every third one is wanted.
            let page = fill(
                window,
                WINDOW,
                300,
                &"q",
                |n| place(*n),
                |n| (n % 3 == 0).then_some(n),
            )
            .unwrap();
            seen.extend(page.items);
            pages += 1;
            let Some(next) = page.next else { break };
            let last = read(Some(&next), &"q").unwrap().unwrap();
            from = last.id.parse::<usize>().unwrap() + 1;
        }
        let wanted: Vec<i64> = all.into_iter().filter(|n| n % 3 == 0).collect();
        assert_eq!(seen, wanted);
        assert!(pages >= 3);
    }
}
