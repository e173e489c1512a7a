//! What a request asks for.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::problem::Problem;
use crate::page::RENDERED;
use crate::place::Place;
use crate::windows::Kind;

/// How many entries, neighbours on either side, friends and windows one answer has at most.
const MOST: u32 = 1_000;
const MOST_NEIGHBOURS: u32 = 100;
const MOST_FRIENDS: usize = 200;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Ask {
    /// Which boards there are.
    Boards,
    /// Which windows a board has, the latest first.
    Windows {
        board: String,
        group: Option<(String, String)>,
        kind: Option<Kind>,
        /// Only those that begin earlier.
        before: Option<DateTime<Utc>>,
        limit: u32,
    },
    /// Something of a window.
    Of(Place, Of),
}

/// Of a window.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Of {
    /// The best.
    Top(u32),
    /// Somebody, and who is around.
    Around {
        user: Uuid,
        above: u32,
        below: u32,
        /// All ranks are wanted, and exact.
        dense: bool,
    },
    /// Some, compared with each other.
    Friends(Vec<Uuid>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowsQuery {
    group: Option<String>,
    window: Option<String>,
    before: Option<DateTime<Utc>>,
    limit: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopQuery {
    group: Option<String>,
    limit: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RankQuery {
    group: Option<String>,
    #[serde(default)]
    dense: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AroundQuery {
    group: Option<String>,
    above: Option<u32>,
    below: Option<u32>,
    #[serde(default)]
    dense: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FriendsQuery {
    group: Option<String>,
    users: String,
}

impl Ask {
    /// Reads the path below `leaderboards` and the query.
    pub(super) fn read(path: &str, text: &str) -> Result<Self, Problem> {
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match segments[..] {
            [] => {
                let Nothing {} = query(text)?;
                Ok(Self::Boards)
            }
            [name] => {
                let asked: WindowsQuery = query(text)?;
                Ok(Self::Windows {
                    board: board(name)?,
                    group: asked.group.as_deref().map(read_group).transpose()?,
                    kind: asked.window.as_deref().map(read_kind).transpose()?,
                    before: asked.before.map(instant).transpose()?,
                    limit: limit("limit", asked.limit.unwrap_or(RENDERED), MOST)?,
                })
            }
            [name, kind, ref label @ .., "top"] if label.len() <= 1 => {
                let asked: TopQuery = query(text)?;
                let limit = limit("limit", asked.limit.unwrap_or(RENDERED), MOST)?;
                let place = read_place(name, kind, label, asked.group.as_deref())?;
                Ok(Self::Of(place, Of::Top(limit)))
            }
            [name, kind, ref label @ .., "rank", user] if label.len() <= 1 => {
                let asked: RankQuery = query(text)?;
                let of = Of::Around {
                    user: read_user(user)?,
                    above: 0,
                    below: 0,
                    dense: asked.dense,
                };
                Ok(Self::Of(
                    read_place(name, kind, label, asked.group.as_deref())?,
                    of,
                ))
            }
            [name, kind, ref label @ .., "around", user] if label.len() <= 1 => {
                let asked: AroundQuery = query(text)?;
                let of = Of::Around {
                    user: read_user(user)?,
                    above: limit("above", asked.above.unwrap_or(5), MOST_NEIGHBOURS)?,
                    below: limit("below", asked.below.unwrap_or(5), MOST_NEIGHBOURS)?,
                    dense: asked.dense,
                };
                let place = read_place(name, kind, label, asked.group.as_deref())?;
                Ok(Self::Of(place, of))
            }
            [name, kind, ref label @ .., "friends"] if label.len() <= 1 => {
                let asked: FriendsQuery = query(text)?;
                let users = asked.users.split(',').map(str::trim).map(read_user);
                let users: BTreeSet<Uuid> = users.collect::<Result<_, _>>()?;
                if users.len() > MOST_FRIENDS {
                    let many = users.len();
                    let what = format!("users has {many} ids; {MOST_FRIENDS} can be compared");
                    return Err(Problem::bad_request(what));
                }
                let place = read_place(name, kind, label, asked.group.as_deref())?;
                Ok(Self::Of(place, Of::Friends(users.into_iter().collect())))
            }
            _ => Err(Problem::not_found(format!(
                "there is no leaderboards/{path}; what there is: leaderboards, leaderboards/BOARD, and \
                 leaderboards/BOARD/WINDOW[/LABEL]/ with top, rank/USER, around/USER or friends?users=USER,USER"
            ))),
        }
    }

    /// Whether many ask for just this, rather than each for their own.
    pub(super) fn is_for_many(&self) -> bool {
        !matches!(self, Self::Of(_, Of::Around { .. } | Of::Friends(_)))
    }
}

/// The host's own members of a query: a key, and whose it is.
const OF_THE_HOST: [&str; 2] = ["code", "clientId"];

/// What stands in the query. A member that is not known is refused.
fn query<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let pairs = url::form_urlencoded::parse(text.as_bytes());
    let pairs = pairs.filter(|(name, _)| !OF_THE_HOST.contains(&name.as_ref()));
    let mut own = url::form_urlencoded::Serializer::new(String::new());
    let own = own.extend_pairs(pairs).finish();
    let pairs = url::form_urlencoded::parse(own.as_bytes());
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs))
        .map_err(|error| Problem::bad_request(format!("the query cannot be read: {error}")))
}

fn read_place(
    name: &str,
    kind: &str,
    label: &[&str],
    group: Option<&str>,
) -> Result<Place, Problem> {
    let kind = read_kind(kind)?;
    let label = label.first().copied().map(read_label).transpose()?;
    // There is only one of all time.
    let label = label.filter(|label| label != kind.as_str());
    if let (Kind::AllTime, Some(label)) = (kind, &label) {
        return Err(Problem::not_found(format!(
            "there is one all-time window, and none with the label {label}"
        )));
    }
    Ok(Place {
        board: board(name)?,
        group: group.map(read_group).transpose()?,
        kind,
        label,
    })
}

/// An instant that the database can say, too.
fn instant(at: DateTime<Utc>) -> Result<DateTime<Utc>, Problem> {
    if (1..=9999).contains(&at.year()) {
        return Ok(at);
    }
    Err(Problem::bad_request(format!(
        "before is {at}; it must be within the years 1 to 9999"
    )))
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 63
        && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// A name that a board may have; others are not asked for.
fn board(name: &str) -> Result<String, Problem> {
    if is_name(name) {
        return Ok(name.to_owned());
    }
    Err(Problem::not_found(format!("there is no board {name:?}")))
}

fn read_kind(word: &str) -> Result<Kind, Problem> {
    Kind::parse(word).ok_or_else(|| {
        Problem::not_found(format!(
            "there are no {word:?} windows; daily, weekly, monthly, all-time and season are known"
        ))
    })
}

fn read_label(label: &str) -> Result<String, Problem> {
    if is_name(label) {
        return Ok(label.to_owned());
    }
    Err(Problem::not_found(format!(
        "no window has the label {label:?}; labels look like 2026-11-23, 2026-W48, 2026-11, or as seasons are named"
    )))
}

fn read_user(text: &str) -> Result<Uuid, Problem> {
    Uuid::try_parse(text)
        .map_err(|_| Problem::bad_request(format!("{text:?} is no user: users are UUIDs")))
}

fn read_group(text: &str) -> Result<(String, String), Problem> {
    let parts = text.split_once(':');
    let is_one = |(column, value): &(&str, &str)| {
        !column.is_empty() && !value.is_empty() && !text.contains('\0')
    };
    let parts = parts.filter(is_one).ok_or_else(|| {
        Problem::bad_request(format!(
            "group is {text:?}; it must be column:value, such as country:DE"
        ))
    })?;
    Ok((parts.0.to_owned(), parts.1.to_owned()))
}

fn limit(name: &str, number: u32, most: u32) -> Result<u32, Problem> {
    let least = u32::from(name == "limit");
    if (least..=most).contains(&number) {
        return Ok(number);
    }
    Err(Problem::bad_request(format!(
        "{name} is {number}; it can be {least} to {most}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "00000000-0000-4000-8000-000000000001";

    fn place(label: Option<&str>, group: Option<(&str, &str)>) -> Place {
        Place {
            board: "global".to_owned(),
            group: group.map(|(column, value)| (column.to_owned(), value.to_owned())),
            kind: Kind::Weekly,
            label: label.map(str::to_owned),
        }
    }

    #[test]
    fn paths_say_what_is_asked_for() {
        let user: Uuid = USER.parse().unwrap();
        let around = |above, below, dense| Of::Around {
            user,
            above,
            below,
            dense,
        };
        for (path, query, of, label, group) in [
            ("global/weekly/top", "", Of::Top(100), None, None),
            ("global/weekly/top/", "limit=7", Of::Top(7), None, None),
            (
                "/global//weekly/top",
                "code=key&limit=7&clientId=x",
                Of::Top(7),
                None,
                None,
            ),
            (
                "global/weekly/2026-W47/top",
                "group=country%3ADE",
                Of::Top(100),
                Some("2026-W47"),
                Some(("country", "DE")),
            ),
            // Seasons may be named as they like.
            ("global/weekly/top/top", "", Of::Top(100), Some("top"), None),
            (
                &format!("global/weekly/rank/{USER}"),
                "",
                around(0, 0, false),
                None,
                None,
            ),
            (
                &format!("global/weekly/x/around/{USER}"),
                "above=0&below=100&dense=true",
                around(0, 100, true),
                Some("x"),
                None,
            ),
            (
                "global/weekly/friends",
                &format!("users={USER},{USER}"),
                Of::Friends(vec![user]),
                None,
                None,
            ),
        ] {
            let asked = Ask::read(path, query).unwrap();
            assert_eq!(asked, Ask::Of(place(label, group), of), "{path}?{query}");
        }
        assert_eq!(Ask::read("", "").unwrap(), Ask::Boards);
        let windows = Ask::read("global", "window=season&before=2026-11-22T00:00:00Z").unwrap();
        assert!(
            matches!(
                windows,
                Ask::Windows {
                    kind: Some(Kind::Season),
                    limit: 100,
                    ..
                }
            ),
            "{windows:?}"
        );
    }

    #[test]
    fn what_cannot_be_read_says_which_part() {
        let long = "x".repeat(64);
        let many = vec![Uuid::nil().to_string(); 1].join(",");
        for (path, query, named) in [
            ("global/weekly", "", "global/weekly"),
            ("global/hourly/top", "", "\"hourly\""),
            ("a b/weekly/top", "", "\"a b\""),
            (&format!("{long}/weekly/top"), "", &long),
            ("global/weekly/%7B/top", "", "%7B"),
            ("global/weekly/top", "limit=0", "limit is 0"),
            ("global/weekly/top", "limit=1001", "limit is 1001"),
            ("global/weekly/top", "limit=x", "limit"),
            ("global/weekly/top", "above=1", "above"),
            ("global/weekly/top", "group=country", "\"country\""),
            ("global/weekly/top", "group=country:%00", "column:value"),
            ("global/weekly/rank/me", "", "\"me\""),
            ("global/weekly/friends", "", "users"),
            ("global/weekly/friends", "users=", "UUID"),
            ("global", "before=yesterday", "before"),
            ("global", "before=-9000-01-01T00:00:00Z", "before"),
            ("global/all-time/2026/top", "", "label 2026"),
            ("", &format!("users={many}"), "users"),
        ] {
            let problem = Ask::read(path, query).unwrap_err();
            let body = problem.into_response().into_body();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let detail = body["detail"].as_str().unwrap();
            assert!(detail.contains(named), "{path}?{query}: {detail}");
        }
    }
}
