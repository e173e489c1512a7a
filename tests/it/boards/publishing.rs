//! Full publications: all or nothing, the newest only.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use tokio::sync::{Barrier, oneshot};

use super::*;

everywhere!(
    a_reader_never_sees_an_empty_or_half_board,
    an_older_run_shows_nothing,
    an_older_run_that_ends_later_shows_nothing,
    what_ends_in_the_middle_leaves_a_key_that_expires,
    a_source_that_fails_leaves_nothing,
    two_with_the_same_run_show_no_half_board,
    two_with_the_same_run_at_once_do_not_empty_the_board,
    an_empty_board_is_one_without_a_key,
    everything_expires,
    removing_leaves_nothing,
    a_publication_may_be_a_task,
);

/// Members of the board that is polled: two chunks.
const MEMBERS: usize = 1_500;

/// How often it is published in full, and how often changed.
const TIMES: i64 = 200;

/// Scores say of which run they are.
const PER_RUN: i64 = 10_000;

/// The score of the member number `index` in `run`.
fn score_in(run: i64, index: usize) -> i64 {
    run * PER_RUN + i64::try_from(index).unwrap()
}

async fn a_reader_never_sees_an_empty_or_half_board(world: World) {
    let rows = |run| (0..MEMBERS).map(move |index| (format!("m{index}"), score_in(run, index)));
    let publish = async |run| {
        let meta = plain(run, MEMBERS);
        let rows = chunks(&rows(run).collect::<Vec<_>>());
        let published = world
            .boards
            .publish_all(world.publication(&meta), rows, DEADLINE);
        let size = MEMBERS as u64;
        assert_eq!(published.await.unwrap(), Published::Published { size });
    };
    publish(1).await;
    let is_over = AtomicBool::new(false);
    let publishing = async {
        for run in 2..=TIMES {
            publish(run).await;
        }
        for run in TIMES + 1..=2 * TIMES {
            let mut changes = Changes::default();
            for (member, score) in rows(run) {
                changes.set(&member, points(score));
            }
            let size = MEMBERS as u64;
            let changed = world.change(run, run - 1, &changes).await;
            assert_eq!(changed, Changed::Published { size });
        }
        is_over.store(true, Ordering::Relaxed);
    };
    let counting = async {
        let mut polls = 0_usize;
        while !is_over.load(Ordering::Relaxed) {
            let count: usize = world.ask(&["ZCARD", world.board.key()]).await;
            assert_eq!(count, MEMBERS, "poll {polls}");
            polls += 1;
        }
        polls
    };
    let reading = async {
        let readers = boards_at(&world.url);
        let (mut polls, mut last, mut changes) = (0_usize, 0, 0_usize);
        while !is_over.load(Ordering::Relaxed) {
            let standings = readers.top(&world.board, 50).await.unwrap();
            let standings = standings.unwrap_or_else(|| panic!("poll {polls} saw no board"));
            let run = standings.meta.run.0;
            assert_eq!(standings.rows.len(), 50, "poll {polls}, run {run}");
            for (index, row) in standings.rows.iter().enumerate() {
                let expected = score_in(run, MEMBERS - 1 - index);
                assert_eq!(row.score.score, expected, "poll {polls}, run {run}");
            }
            assert!(run >= last, "run {run} after {last}");
            changes += usize::from(run > last);
            last = run;
            polls += 1;
        }
        (polls, changes)
    };
    let ((), counts, (reads, changes)) = tokio::join!(publishing, counting, reading);
    // Who looks that rarely would have seen nothing if there had been something to see.
    assert!(
        counts > 200 && reads > 200 && changes > 50,
        "{counts} {reads} {changes}"
    );
}

async fn an_older_run_shows_nothing(world: World) {
    let newer = [("b", 2), ("a", 1)];
    assert_eq!(
        world.publish(5, &newer).await,
        Published::Published { size: 2 }
    );
    let current = Run(5);
    assert_eq!(
        world.publish(4, &[("c", 3)]).await,
        Published::Stale { current }
    );
    assert_eq!(world.publish(-1, &[]).await, Published::Stale { current });
    assert_eq!(world.shown().await, Some((5, owned(&newer))));
    for run in [4, -1] {
        assert_eq!(world.temporary(run).await, None);
    }
    // The same run once more is what a repetition does.
    assert_eq!(
        world.publish(5, &newer).await,
        Published::Published { size: 2 }
    );
}

async fn an_older_run_that_ends_later_shows_nothing(world: World) {
    let (go, wait) = oneshot::channel::<()>();
    let meta = plain(4, 1);
    let slow = chunks(&owned(&[("old", 1)])).chain(
        stream::once(async {
            wait.await.unwrap();
            Ok(Rows::default())
        })
        .boxed(),
    );
    let older = world
        .boards
        .publish_all(world.publication(&meta), slow, DEADLINE);
    let newer = async {
        until_written(&world, 4).await;
        world.publish(5, &[("new", 2)]).await;
        go.send(()).unwrap();
    };
    let (older, ()) = tokio::join!(older, newer);
    assert_eq!(older.unwrap(), Published::Stale { current: Run(5) });
    assert_eq!(world.shown().await, Some((5, owned(&[("new", 2)]))));
    assert_eq!(world.temporary(4).await, None);
}

async fn what_ends_in_the_middle_leaves_a_key_that_expires(world: World) {
    let before = [("a", 1)];
    world.publish(1, &before).await;
    let meta = plain(2, 2);
    let endless = chunks(&owned(&[("b", 2)])).chain(stream::pending());
    let publishing = world
        .boards
        .publish_all(world.publication(&meta), endless, DEADLINE);
    let temporary = tokio::select! {
        ended = publishing => panic!("{ended:?}"),
        key = until_written(&world, 2) => key,
    };
    assert_eq!(world.shown().await, Some((1, owned(&before))));
    let lifetime = world.lifetime(&temporary).await;
    assert!((1..=60_000).contains(&lifetime), "{lifetime}");
    // The next try begins anew.
    world.publish(2, &[("c", 3)]).await;
    assert_eq!(world.shown().await, Some((2, owned(&[("c", 3)]))));
}

async fn a_source_that_fails_leaves_nothing(world: World) {
    #[derive(Debug)]
    struct Broken(&'static str);
    impl From<CacheError> for Broken {
        fn from(error: CacheError) -> Self {
            panic!("{error:?}")
        }
    }
    let before = [("a", 1)];
    world.publish(1, &before).await;
    let meta = plain(2, 2);
    let rows = chunks(&owned(&[("b", 2)])).map(|rows| Ok(rows.unwrap()));
    let rows = rows.chain(stream::iter([Err(Broken("Postgres is away"))]));
    let publication = world.publication(&meta);
    let Broken(why) = world
        .boards
        .publish_all(publication, rows, DEADLINE)
        .await
        .unwrap_err();
    assert_eq!(why, "Postgres is away");
    assert_eq!(world.shown().await, Some((1, owned(&before))));
    assert_eq!(world.temporary(2).await, None);
}

async fn two_with_the_same_run_show_no_half_board(world: World) {
    let (go, wait) = oneshot::channel::<()>();
    let meta = plain(7, 2);
    let slow = chunks(&owned(&[("a", 1)])).chain(
        stream::once(async {
            wait.await.unwrap();
            let mut rows = Rows::default();
            rows.push("b", points(2));
            Ok(rows)
        })
        .boxed(),
    );
    let one = world
        .boards
        .publish_all(world.publication(&meta), slow, DEADLINE);
    let both = [("b", 2), ("a", 1)];
    let other = async {
        until_written(&world, 7).await;
        world.publish(7, &both).await;
        assert_eq!(world.shown().await, Some((7, owned(&both))));
        go.send(()).unwrap();
    };
    let (one, ()) = tokio::join!(one, other);
    assert_eq!(one.unwrap(), Published::Published { size: 2 });
    assert_eq!(world.shown().await, Some((7, owned(&both))));
}

/// Both have begun before either writes, so that the second writes what is there already.
async fn two_with_the_same_run_at_once_do_not_empty_the_board(world: World) {
    let both = [("b", 2), ("a", 1)];
    for run in 1..50 {
        let meta = plain(run, 2);
        let have_begun = Barrier::new(2);
        let publish = || {
            let all = chunks(&owned(&both));
            let begun = stream::once(async {
                have_begun.wait().await;
                Ok(Rows::default())
            });
            let rows = begun.chain(all).boxed();
            let publication = world.publication(&meta);
            world.boards.publish_all(publication, rows, DEADLINE)
        };
        let (one, other) = tokio::join!(publish(), publish());
        for published in [one, other] {
            assert_eq!(published.unwrap(), Published::Published { size: 2 });
        }
        assert_eq!(world.shown().await, Some((run, owned(&both))));
    }
}

async fn an_empty_board_is_one_without_a_key(world: World) {
    assert_eq!(world.shown().await, None);
    world.publish(1, &[("a", 1)]).await;
    assert_eq!(
        world.publish(2, &[]).await,
        Published::Published { size: 0 }
    );
    assert!(!world.exists(world.board.key()).await);
    assert_eq!(world.shown().await, Some((2, Vec::new())));
    assert_eq!(world.touch(2).await, Touched::Renewed);
    let mut changes = Changes::default();
    changes.set("b", points(2));
    let changed = world.change(3, 2, &changes).await;
    assert_eq!(changed, Changed::Published { size: 1 });
    let mut changes = Changes::default();
    changes.remove("b");
    let changed = world.change(4, 3, &changes).await;
    assert_eq!(changed, Changed::Published { size: 0 });
    assert!(!world.exists(world.board.key()).await);
    assert_eq!(world.shown().await, Some((4, Vec::new())));
}

async fn everything_expires(world: World) {
    let meta = plain(1, 1);
    let publication = Publication {
        extras: Extras {
            top: Some(b"[1]"),
            buckets: Some(b"\0buckets"),
        },
        ..world.publication(&meta)
    };
    let rows = || chunks(&owned(&[("a", 1)]));
    let published = world.boards.publish_all(publication, rows(), DEADLINE);
    published.await.unwrap();
    let keys = ["meta", "buckets", "top"].map(|end| world.beside(end));
    let lives = async |key: &str, span: Duration| {
        let lifetime = world.lifetime(key).await;
        let most = i64::try_from(span.as_millis()).unwrap();
        assert!(lifetime <= most && lifetime > most / 2, "{key}: {lifetime}");
    };
    let live = world.board.key();
    for key in [live, &keys[0], &keys[1]] {
        lives(key, EXPIRY.board).await;
    }
    lives(&keys[2], EXPIRY.top).await;
    let longer = Expiry {
        board: EXPIRY.board * 4,
        top: EXPIRY.top * 4,
    };
    let touched = world.boards.touch(&world.board, Run(1), longer, DEADLINE);
    assert_eq!(touched.await.unwrap(), Touched::Renewed);
    for key in [live, &keys[0], &keys[1]] {
        lives(key, longer.board).await;
    }
    lives(&keys[2], longer.top).await;
    let other = world.boards.touch(&world.board, Run(2), EXPIRY, DEADLINE);
    let current = Run(1);
    assert_eq!(other.await.unwrap(), Touched::Other { current });
    lives(live, longer.board).await;
    // What a run does not have is not that of another run.
    world.publish(2, &[("a", 1)]).await;
    assert_eq!(world.boards.top_rendered(&world.board).await.unwrap(), None);
    assert_eq!(world.boards.buckets(&world.board).await.unwrap(), None);
}

async fn removing_leaves_nothing(world: World) {
    let meta = plain(3, 1);
    let publication = Publication {
        extras: Extras {
            top: Some(b"[1]"),
            buckets: Some(b"b"),
        },
        ..world.publication(&meta)
    };
    let rows = chunks(&owned(&[("a", 1)]));
    let published = world.boards.publish_all(publication, rows, DEADLINE);
    published.await.unwrap();
    let other = board("removed-too");
    let both = [world.board.clone(), other];
    world.boards.remove(&both, DEADLINE).await.unwrap();
    for key in ["meta", "top", "buckets"].map(|end| world.beside(end)) {
        assert!(!world.exists(&key).await, "{key}");
    }
    assert!(!world.exists(world.board.key()).await);
    assert_eq!(world.touch(3).await, Touched::Missing);
    // An older run may be shown again.
    world.publish(1, &[("a", 1)]).await;
    assert_eq!(world.shown().await, Some((1, owned(&[("a", 1)]))));
}

async fn a_publication_may_be_a_task(world: World) {
    let (boards, board) = (world.boards.clone(), world.board.clone());
    let task = tokio::spawn(async move {
        let meta = plain(1, 2);
        let publication = Publication {
            board: &board,
            meta: &meta,
            extras: Extras::default(),
            expiry: EXPIRY,
        };
        // A source that has to wait and borrows what it asks, as one of pages of a database does.
        let names = ["b", "a"].map(str::to_owned);
        let rows = stream::try_unfold(names.iter(), |mut left| async move {
            tokio::task::yield_now().await;
            let Some(name) = left.next() else {
                return Ok(None);
            };
            let mut rows = Rows::default();
            rows.push(name, points(1));
            Ok::<_, CacheError>(Some((rows, left)))
        });
        boards
            .publish_all(publication, rows.boxed(), DEADLINE)
            .await
    });
    let published = task.await.unwrap().unwrap();
    assert_eq!(published, Published::Published { size: 2 });
    assert_eq!(world.shown().await, Some((1, owned(&[("b", 1), ("a", 1)]))));
}

/// Waits until something was written for `run`, and says where.
pub(super) async fn until_written(world: &World, run: i64) -> String {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        if let Some(key) = world.temporary(run).await {
            return key;
        }
        assert!(tokio::time::Instant::now() < deadline, "nothing is written");
    }
}
