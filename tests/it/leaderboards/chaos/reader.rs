//! Somebody who looks at boards all the time.

use std::collections::HashMap;

use nightshift_time::SystemClock;
use tokio_util::sync::CancellationToken;

use super::super::look::{View, begin_generation, view};
use super::super::*;

/// How many boards are looked at.
const BOARDS: usize = 4;

/// Their keys. The scores of each come to nothing, in every count. The first one is the first that a count shows: what
/// comes to Redis late is there.
fn keys() -> [String; BOARDS] {
    let today = SystemClock.now().format("daily:%Y-%m-%d").to_string();
    let windows = [&today, "weekly", "country:DE:weekly", "all-time"];
    windows.map(|window| format!("leaderboard:account:{window}"))
}

/// How many faults are told.
const MOST_FAULTS: usize = 5;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// How often a board was there.
    pub(super) looks: usize,
    /// How many counts of a board were seen.
    pub(super) runs: usize,
    /// How often the server had been emptied.
    pub(super) emptied: usize,
    /// What must not be: the first of it.
    pub(super) faults: Vec<String>,
}

/// What was seen of a board since the server was emptied.
#[derive(Default)]
struct Seen {
    generation: String,
    last: Option<View>,
    of_run: HashMap<i64, Vec<(Uuid, i64)>>,
}

/// Looks until it is to end.
pub(super) async fn read(url: String, end: CancellationToken) -> Report {
    let client = redis::Client::open(url).unwrap();
    let mut report = Report::default();
    let keys = keys();
    let mut seen: [Seen; BOARDS] = std::array::from_fn(|_| Seen::default());
    while !end.is_cancelled() {
        let connected = client.get_multiplexed_async_connection().await;
        let Ok(mut connection) = connected else {
            // The server is away, which is no board that is empty.
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        'connected: while !end.is_cancelled() {
            for (key, seen) in keys.iter().zip(&mut seen) {
                let Ok(view) = view(&mut connection, key).await else {
                    break 'connected;
                };
                let Some(generation) = view.generation.clone() else {
                    // It was emptied since it was looked at last, or never was.
                    report.emptied += 1;
                    let name = report.emptied.to_string();
                    if begin_generation(&mut connection, &name).await.is_err() {
                        break 'connected;
                    }
                    continue;
                };
                if seen.generation != generation {
                    report.runs += seen.of_run.len();
                    *seen = Seen {
                        generation,
                        ..Seen::default()
                    };
                }
                if let Some(fault) = seen.look(view, &mut report.looks)
                    && report.faults.len() < MOST_FAULTS
                {
                    report.faults.push(format!("{key}: {fault}"));
                }
            }
            sleep(Duration::from_millis(1)).await;
        }
    }
    report.runs += seen.iter().map(|seen| seen.of_run.len()).sum::<usize>();
    report
}

impl Seen {
    /// What is wrong with `view` after what was seen before.
    fn look(&mut self, view: View, looks: &mut usize) -> Option<String> {
        let is_there = !view.meta.is_empty();
        if !is_there && view.rows.is_empty() {
            return self.last.as_ref().map(|last| {
                format!(
                    "it was there, with {} members, and is gone",
                    last.rows.len()
                )
            });
        }
        *looks += 1;
        let members = i64::try_from(view.rows.len()).unwrap();
        let (says, size) = (view.number("members"), view.number("size"));
        if (says, size) != (members, members) {
            return Some(format!(
                "half of it: {members} members, of which it says there are {says}, {size} of them here: {view:?}"
            ));
        }
        let sum: i64 = view.rows.iter().map(|(_, score)| score).sum();
        if sum != 0 {
            return Some(format!("of several counts: it comes to {sum}: {view:?}"));
        }
        let run = view.number("run");
        if let Some(last) = &self.last {
            let before = last.number("run");
            if run < before {
                return Some(format!("after the count {before} it shows {run}"));
            }
            let is_same_window = last.meta.get("window") == view.meta.get("window");
            if view.rows.is_empty() && !last.rows.is_empty() && is_same_window {
                return Some(format!("it is empty: {view:?}, after {last:?}"));
            }
        }
        let shown = self.of_run.entry(run).or_insert_with(|| view.rows.clone());
        if *shown != view.rows {
            return Some(format!(
                "the count {run} was once {shown:?} and once {:?}",
                view.rows
            ));
        }
        self.last = Some(view);
        None
    }
}

#[test]
fn the_reader_sees_what_is_gone_half_empty_mixed_old_or_not_the_same() {
    let (ann, ben) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let view = |run: i64, members: i64, rows: &[(Uuid, i64)]| View {
        generation: Some("1".to_owned()),
        meta: [("run", run), ("members", members), ("size", members)]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_string()))
            .collect(),
        rows: rows.to_vec(),
    };
    let gone = View {
        meta: HashMap::new(),
        ..view(0, 0, &[])
    };
    for (then, says) in [
        (gone, Some("is gone")),
        (view(8, 2, &[(ann, 0)]), Some("half of it")),
        (view(8, 0, &[]), Some("it is empty")),
        (view(8, 2, &[(ann, 4), (ben, -5)]), Some("comes to -1")),
        (view(6, 2, &[(ann, 5), (ben, -5)]), Some("it shows 6")),
        (view(7, 2, &[(ben, 5), (ann, -5)]), Some("was once")),
        (view(7, 2, &[(ann, 5), (ben, -5)]), None),
        (view(8, 2, &[(ben, 5), (ann, -5)]), None),
    ] {
        let (mut seen, mut looks) = (Seen::default(), 0);
        let before = seen.look(view(7, 2, &[(ann, 5), (ben, -5)]), &mut looks);
        assert_eq!(before, None);
        let said = seen.look(then, &mut looks);
        match says {
            Some(says) => assert!(
                said.as_ref().is_some_and(|said| said.contains(says)),
                "{said:?}"
            ),
            None => assert_eq!(said, None),
        }
    }
}
