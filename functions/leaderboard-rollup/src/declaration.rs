//! What the application has declared: sources and boards, and whether they fit together.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use nightshift_telemetry::trace::TRACE;
use sqlx::PgConnection;
use tracing::instrument;

use crate::windows::{Kind, Window};

/// A table or view with one row for each event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) name: String,
    /// As it is declared.
    declared: String,
    /// Quoted, as SQL takes it.
    pub(crate) relation: String,
    pub(crate) mode: Mode,
    pub(crate) shape: Shape,
}

/// How it is known which events of a source are new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By the transactions that wrote them, in a column `xid`: none is left out, however late it commits.
    Xid,
    /// By the time at which they were recorded, in a column `recorded_at`, and by their ids: what becomes
    /// visible later than this after it was recorded is left out until the source is verified.
    Overlap(TimeDelta),
}

impl Mode {
    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Xid => "xid",
            Self::Overlap(_) => "overlap",
        }
    }

    /// The column that says in which order events were written, and its type.
    pub(crate) const fn column(self) -> (&'static str, &'static str) {
        match self {
            Self::Xid => ("xid", "xid8"),
            Self::Overlap(_) => ("recorded_at", "timestamp with time zone"),
        }
    }
}

/// Which columns a source has beyond the required ones, and how they are read.
#[expect(clippy::struct_excessive_bools, reason = "four independent facts")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The type of the ids.
    pub(crate) id_type: String,
    /// Whether scores may be no numbers, or no whole ones.
    pub(crate) is_fractional: bool,
    /// Whether no two rows can have one id.
    pub(crate) has_unique_ids: bool,
    pub(crate) has_board: bool,
    pub(crate) has_voids: bool,
    /// The names of all columns.
    pub(crate) columns: Vec<String>,
}

/// How the events of a user become one score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aggregation {
    Sum,
    Count,
    Best,
    Worst,
    Last,
}

impl Aggregation {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "sum" => Self::Sum,
            "count" => Self::Count,
            "best" => Self::Best,
            "worst" => Self::Worst,
            "last" => Self::Last,
            _ => return None,
        })
    }

    /// Whether every event adds to the score, rather than one of them being it.
    pub(crate) fn is_added(self) -> bool {
        matches!(self, Self::Sum | Self::Count)
    }
}

/// A board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Board {
    pub(crate) id: i32,
    pub(crate) name: String,
    pub(crate) selector: Option<String>,
    pub(crate) aggregation: Aggregation,
    /// Whether the highest score is the best one.
    pub(crate) is_descending: bool,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) zone: Tz,
    pub(crate) grace: TimeDelta,
    pub(crate) top: i32,
    pub(crate) groups: Vec<String>,
    pub(crate) seasons: Vec<Window>,
    /// What scores depend on, as a hash: when it changes, the board is built anew.
    pub(crate) definition: String,
    /// The definition that its scores are of.
    pub(crate) built: Option<String>,
}

/// Why boards cannot be counted. Only the application's author can change it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadDeclaration {
    #[error(
        "there is no source {0} in nightshift.leaderboard_source; declare it, or correct the message"
    )]
    NoSource(String),
    #[error(
        "source {name}: there is no table or view {relation}, or not for the user of the handler; create it, grant SELECT on it, or correct nightshift.leaderboard_source"
    )]
    NoRelation { name: String, relation: String },
    #[error(
        "source {name}: {relation} lacks what boards need: {lacks}; docs/LEADERBOARDS.md lists the columns"
    )]
    Columns {
        name: String,
        relation: String,
        lacks: String,
    },
    #[error("board {board}: source {source_name} has no column {column}, which the board {wants}")]
    NoColumn {
        board: String,
        source_name: String,
        column: String,
        wants: &'static str,
    },
    #[error(
        "board {board}: its season {second} begins before its season {first} ends, and one of them only can be the current one; let one begin where the other ends, or declare a board for each"
    )]
    Overlap {
        board: String,
        first: String,
        second: String,
    },
    #[error("board {board}: {what} {value} is unknown to this release")]
    Unknown {
        board: String,
        what: &'static str,
        value: String,
    },
}

/// A failure of the database, or of the declaration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the declaration of the boards cannot be read")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Declaration(#[from] BadDeclaration),
}

/// The names of the sources that have enabled boards.
#[instrument(target = TRACE, name = "db.leaderboard_source.select", skip_all)]
pub(crate) async fn names(tx: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT DISTINCT source FROM nightshift.leaderboard WHERE enabled ORDER BY source"
    )
    .fetch_all(tx)
    .await
}

/// Reads the source `name` and looks at its relation.
#[instrument(target = TRACE, name = "db.leaderboard_source.read", skip_all)]
pub(crate) async fn source(tx: &mut PgConnection, name: &str) -> Result<Source, ReadError> {
    let row = sqlx::query!(
        "SELECT relation, (extract(epoch FROM overlap) * 1000000)::bigint AS overlap
        FROM nightshift.leaderboard_source WHERE name = $1",
        name,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let row = row.ok_or_else(|| BadDeclaration::NoSource(name.to_owned()))?;
    let declared = row.relation;
    let overlap = row.overlap.map(TimeDelta::microseconds);
    let mode = overlap.map_or(Mode::Xid, Mode::Overlap);
    let found = sqlx::query_file!("sql/relation.sql", declared)
        .fetch_optional(&mut *tx)
        .await?;
    let Some(found) = found else {
        let (name, relation) = (name.to_owned(), declared);
        return Err(BadDeclaration::NoRelation { name, relation }.into());
    };
    let columns: Vec<(String, String)> = found.columns.into_iter().zip(found.types).collect();
    let shape = shape(&columns, mode, found.has_unique_ids);
    let shape = shape.map_err(|lacks| BadDeclaration::Columns {
        name: name.to_owned(),
        relation: declared.clone(),
        lacks,
    })?;
    Ok(Source {
        name: name.to_owned(),
        declared,
        relation: found.relation,
        mode,
        shape,
    })
}

const IDS: [&str; 5] = ["uuid", "text", "bigint", "integer", "character varying"];
const WHOLE: [&str; 3] = ["bigint", "integer", "smallint"];
const FRACTIONAL: [&str; 3] = ["numeric", "double precision", "real"];

/// What is to be known of the columns, or what they lack.
fn shape(columns: &[(String, String)], mode: Mode, has_unique_ids: bool) -> Result<Shape, String> {
    let type_of = |name: &str| {
        let found = columns.iter().find(|(column, _)| column == name);
        found.map(|(_, of)| of.as_str())
    };
    let mut lacks = String::new();
    let mut need = |name: &str, types: &[&str]| match type_of(name) {
        Some(of) if types.contains(&of) => {}
        Some(of) => {
            let _ = write!(lacks, "; {name} is {of}, not {}", types.join(" or "));
        }
        None => {
            let _ = write!(
                lacks,
                "; there is no column {name} ({})",
                types.join(" or ")
            );
        }
    };
    need("event_id", &IDS);
    need("user_id", &["uuid"]);
    need("score", &[&WHOLE[..], &FRACTIONAL].concat());
    need("occurred_at", &["timestamp with time zone"]);
    let (column, of) = mode.column();
    need(column, &[of]);
    let has_voids = type_of("voids").is_some();
    if has_voids {
        need("voids", type_of("event_id").as_slice());
    }
    if !lacks.is_empty() {
        return Err(lacks.split_off(2));
    }
    Ok(Shape {
        id_type: type_of("event_id").unwrap_or_default().to_owned(),
        is_fractional: type_of("score").is_some_and(|of| FRACTIONAL.contains(&of)),
        has_unique_ids,
        has_board: type_of("board").is_some(),
        has_voids,
        columns: columns.iter().map(|(name, _)| name.clone()).collect(),
    })
}

/// The enabled boards of `source`, by name. Says what is wrong with those that cannot be counted.
#[instrument(target = TRACE, name = "db.leaderboard.select", skip_all)]
pub(crate) async fn boards(
    tx: &mut PgConnection,
    source: &Source,
) -> Result<(Vec<Board>, Vec<BadDeclaration>), sqlx::Error> {
    // Before the seasons: one that comes in between is then not in the definition, and has the board built anew.
    let read = format!(
        "{} by {} {}",
        source.declared,
        source.mode.as_str(),
        source.shape.id_type
    );
    let rows = sqlx::query_file_as!(Row, "sql/boards.sql", source.name, read)
        .fetch_all(&mut *tx)
        .await?;
    let seasons = sqlx::query!(
        // A season may be without a beginning or an end.
        r#"SELECT s.board, s.label, greatest(s.starts_at, '0001-01-01 00:00:00+00') AS "starts_at!",
            least(s.ends_at, '9999-01-01 00:00:00+00') AS "ends_at!"
        FROM nightshift.leaderboard_season AS s
        JOIN nightshift.leaderboard AS b ON b.id = s.board WHERE b.source = $1 ORDER BY s.starts_at"#,
        source.name,
    )
    .fetch_all(&mut *tx)
    .await?;
    let (mut boards, mut problems) = (Vec::new(), Vec::new());
    for row in rows {
        let board = row.id;
        let seasons = seasons.iter().filter(|season| season.board == board);
        let seasons = seasons.map(|season| Window {
            kind: Kind::Season,
            label: season.label.clone(),
            starts: season.starts_at,
            ends: season.ends_at,
        });
        let seasons = seasons.collect();
        match row.read(source, seasons) {
            Ok(board) => boards.push(board),
            Err(problem) => problems.push(problem),
        }
    }
    Ok((boards, problems))
}

/// A row of `nightshift.leaderboard`.
struct Row {
    id: i32,
    name: String,
    selector: Option<String>,
    aggregation: String,
    direction: String,
    windows: Vec<String>,
    zone: String,
    grace_seconds: i64,
    top: i32,
    groups: Vec<String>,
    definition: String,
    built: Option<String>,
}

impl Row {
    fn read(self, source: &Source, seasons: Vec<Window>) -> Result<Board, BadDeclaration> {
        let board = self.name.clone();
        let unknown = |what, value: &str| BadDeclaration::Unknown {
            board: board.clone(),
            what,
            value: value.to_owned(),
        };
        let lacks = |column: &str, wants| BadDeclaration::NoColumn {
            board: board.clone(),
            source_name: source.name.clone(),
            column: column.to_owned(),
            wants,
        };
        if self.selector.is_some() && !source.shape.has_board {
            return Err(lacks("board", "selects by"));
        }
        let known = &source.shape.columns;
        if let Some(missing) = self.groups.iter().find(|group| !known.contains(group)) {
            return Err(lacks(missing, "groups by"));
        }
        let kinds = self.windows.iter();
        let kinds = kinds.map(|word| Kind::parse(word).ok_or_else(|| unknown("window", word)));
        let mut kinds = kinds.collect::<Result<Vec<_>, _>>()?;
        kinds.sort_unstable();
        kinds.dedup();
        // Whatever is named twice is counted once.
        let groups: BTreeSet<String> = self.groups.into_iter().collect();
        let overlaps = |pair: &&[Window]| pair[0].ends > pair[1].starts;
        if kinds.contains(&Kind::Season)
            && let Some([first, second]) = seasons.windows(2).find(overlaps)
        {
            return Err(BadDeclaration::Overlap {
                board,
                first: first.label.clone(),
                second: second.label.clone(),
            });
        }
        Ok(Board {
            aggregation: Aggregation::parse(&self.aggregation)
                .ok_or_else(|| unknown("aggregation", &self.aggregation))?,
            zone: self.zone.parse().map_err(|_| unknown("zone", &self.zone))?,
            id: self.id,
            name: self.name,
            selector: self.selector,
            is_descending: self.direction == "descending",
            kinds,
            grace: TimeDelta::seconds(self.grace_seconds),
            top: self.top,
            groups: groups.into_iter().collect(),
            seasons,
            definition: self.definition,
            built: self.built,
        })
    }
}

impl Board {
    /// Whether its scores are of what it is declared to be.
    pub(crate) fn is_built(&self) -> bool {
        self.built.as_ref() == Some(&self.definition)
    }

    /// The windows that have an instant of `[from, until]` in them. `None`: no calendar reaches so far.
    pub(crate) fn windows(&self, from: DateTime<Utc>, until: DateTime<Utc>) -> Option<Vec<Window>> {
        let mut windows = Vec::new();
        for &kind in &self.kinds {
            windows.extend(crate::windows::between(kind, self.zone, from, until)?);
        }
        if self.kinds.contains(&Kind::Season) {
            let seasons = self.seasons.iter();
            windows.extend(
                seasons
                    .filter(|season| season.starts <= until && season.ends > from)
                    .cloned(),
            );
        }
        Some(windows)
    }

    /// When the ranks of `window` stand.
    pub(crate) fn closes_at(&self, window: &Window) -> DateTime<Utc> {
        window
            .ends
            .checked_add_signed(self.grace)
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;

    use super::*;

    /// A board with the windows and groups, and seasons that begin and end on these days of November.
    fn read(
        windows: &[&str],
        groups: &[&str],
        seasons: &[(&str, u32, u32)],
    ) -> Result<Board, BadDeclaration> {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let source = Source {
            name: "scores".to_owned(),
            declared: "app.score_event".to_owned(),
            relation: "app.score_event".to_owned(),
            mode: Mode::Xid,
            shape: Shape {
                columns: owned(&["country", "team"]),
                ..Shape::default()
            },
        };
        let row = Row {
            id: 1,
            name: "global".to_owned(),
            selector: None,
            aggregation: "sum".to_owned(),
            direction: "descending".to_owned(),
            windows: owned(windows),
            zone: "UTC".to_owned(),
            grace_seconds: 0,
            top: 10,
            groups: owned(groups),
            definition: String::new(),
            built: None,
        };
        let day = |day| Utc.with_ymd_and_hms(2026, 11, day, 0, 0, 0).unwrap();
        let seasons = seasons.iter().map(|(label, starts, ends)| Window {
            kind: Kind::Season,
            label: (*label).to_owned(),
            starts: day(*starts),
            ends: day(*ends),
        });
        row.read(&source, seasons.collect())
    }

    #[test]
    fn what_is_named_twice_is_there_once() {
        let board = read(
            &["weekly", "daily", "weekly"],
            &["team", "country", "team"],
            &[],
        );
        let board = board.unwrap();
        assert_eq!(board.kinds, [Kind::Daily, Kind::Weekly]);
        assert_eq!(board.groups, ["country", "team"]);
    }

    #[test]
    fn seasons_that_would_be_current_at_once_are_refused() {
        let apart = [("one", 1, 5), ("two", 5, 9), ("three", 10, 12)];
        assert_eq!(read(&["season"], &[], &apart).unwrap().seasons.len(), 3);
        let within = [("one", 1, 5), ("two", 5, 12), ("three", 7, 8)];
        let refused = read(&["season"], &[], &within).unwrap_err();
        let said = refused.to_string();
        assert!(
            said.starts_with(
                "board global: its season three begins before its season two ends, and one of them only can be the current one;"
            ),
            "{said}"
        );
        // It shows no seasons.
        assert!(read(&["weekly"], &[], &within).is_ok());
    }
}
