//! Publications of what has changed.

use super::*;

everywhere!(
    changes_that_begin_from_something_else_change_nothing,
    the_same_changes_twice_are_the_same_once,
    many_changes_come_in_one_piece_and_too_many_not_at_all,
    only_the_best_are_kept,
    a_forgotten_member_is_nowhere,
    what_was_lost_is_noticed,
);

fn set(rows: &[(&str, i64)]) -> Changes {
    let mut changes = Changes::default();
    for (member, score) in rows {
        changes.set(member, points(*score));
    }
    changes
}

async fn changes_that_begin_from_something_else_change_nothing(world: World) {
    let changes = set(&[("c", 9)]);
    // There is nothing yet.
    assert_eq!(world.change(1, 0, &changes).await, Changed::Mismatch);
    assert_eq!(world.shown().await, None);
    let rows = [("b", 2), ("a", 1)];
    world.publish(5, &rows).await;
    // A run was left out.
    assert_eq!(world.change(6, 4, &changes).await, Changed::Mismatch);
    assert_eq!(world.change(8, 7, &changes).await, Changed::Mismatch);
    // A newer one is there.
    let stale = Changed::Stale { current: Run(5) };
    assert_eq!(world.change(4, 3, &changes).await, stale);
    assert_eq!(world.shown().await, Some((5, owned(&rows))));
    let changed = world.change(6, 5, &changes).await;
    assert_eq!(changed, Changed::Published { size: 3 });
    let after = [("c", 9), ("b", 2), ("a", 1)];
    assert_eq!(world.shown().await, Some((6, owned(&after))));
}

async fn the_same_changes_twice_are_the_same_once(world: World) {
    world.publish(1, &[("a", 1), ("b", 2)]).await;
    let mut changes = set(&[("c", 3), ("a", 4)]);
    changes.remove("b");
    // Both removed and set is set.
    changes.remove("a");
    changes.remove("nobody");
    assert_eq!((changes.len(), changes.is_empty()), (5, false));
    for _ in 0..2 {
        let changed = world.change(2, 1, &changes).await;
        assert_eq!(changed, Changed::Published { size: 2 });
        let shown = world.shown().await;
        assert_eq!(shown, Some((2, owned(&[("a", 4), ("c", 3)]))));
    }
}

async fn many_changes_come_in_one_piece_and_too_many_not_at_all(world: World) {
    let rows: Vec<(String, i64)> = (0..6_000).map(|n| (format!("m{n}"), n)).collect();
    let meta = plain(1, rows.len());
    let all = world
        .boards
        .publish_all(world.publication(&meta), chunks(&rows), DEADLINE);
    assert_eq!(all.await.unwrap(), Published::Published { size: 6_000 });
    let mut changes = Changes::default();
    for n in 0..2_501 {
        changes.set(&format!("m{n}"), points(10_000 + n));
    }
    for n in 2_501..5_000 {
        changes.remove(format!("m{n}"));
    }
    assert_eq!(changes.len(), Changes::MOST);
    let changed = world.change(2, 1, &changes).await;
    assert_eq!(changed, Changed::Published { size: 3_501 });
    let (_, shown) = world.shown().await.unwrap();
    let set = (0..2_501).rev().map(|n| (format!("m{n}"), 10_000 + n));
    let left = (5_000..6_000).rev().map(|n| (format!("m{n}"), n));
    assert!(shown.into_iter().eq(set.chain(left)));
    changes.remove("one more");
    assert_eq!(world.change(3, 2, &changes).await, Changed::TooMany);
    assert_eq!(world.shown().await.unwrap().0, 2);
}

async fn only_the_best_are_kept(world: World) {
    for (run, order, kept) in [
        (10, Order::HighestFirst, [("e", 5), ("d", 4), ("c", 3)]),
        (20, Order::LowestFirst, [("a", 1), ("b", 2), ("c", 3)]),
    ] {
        let meta = |run| Meta {
            encoding: Encoding::plain(order),
            ..plain(run, 5)
        };
        let rows = chunks(&owned(&[("b", 2), ("c", 3), ("d", 4)]));
        let before = meta(run);
        let all = world
            .boards
            .publish_all(world.publication(&before), rows, DEADLINE);
        all.await.unwrap();
        let (after, changes) = (meta(run + 1), set(&[("a", 1), ("e", 5)]));
        let changed = world.boards.publish_changes(
            world.publication(&after),
            Run(run),
            &changes,
            Some(3),
            DEADLINE,
        );
        assert_eq!(changed.await.unwrap(), Changed::Published { size: 3 });
        assert_eq!(world.shown().await, Some((run + 1, owned(&kept))));
    }
}

async fn a_forgotten_member_is_nowhere(world: World) {
    let meta = plain(1, 2);
    let publication = Publication {
        extras: Extras {
            top: Some(b"a and b"),
            buckets: None,
        },
        ..world.publication(&meta)
    };
    let rows = chunks(&owned(&[("a", 1), ("b", 2)]));
    let published = world.boards.publish_all(publication, rows, DEADLINE);
    published.await.unwrap();
    let forget = async |member| {
        let forgotten = world.boards.forget_member(&world.board, member, DEADLINE);
        forgotten.await.unwrap()
    };
    assert!(forget("a").await);
    assert_eq!(world.boards.top_rendered(&world.board).await.unwrap(), None);
    assert!(!forget("a").await);
    assert_eq!(world.shown().await, Some((1, owned(&[("b", 2)]))));
    // The board is still what the next changes begin from.
    assert_eq!(world.touch(1).await, Touched::Renewed);
    let changed = world.change(2, 1, &set(&[("c", 3)])).await;
    assert_eq!(changed, Changed::Published { size: 2 });
    // Where there is no board, nothing comes to be.
    world
        .boards
        .remove(std::slice::from_ref(&world.board), DEADLINE)
        .await
        .unwrap();
    assert!(!forget("b").await);
    assert!(!world.exists(&world.beside("meta")).await);
}

async fn what_was_lost_is_noticed(world: World) {
    let rows = [("b", 2), ("a", 1)];
    let losses = [
        vec!["UNLINK".to_owned(), world.board.key().to_owned()],
        vec![
            "ZREM".to_owned(),
            world.board.key().to_owned(),
            "a".to_owned(),
        ],
        vec!["UNLINK".to_owned(), world.beside("meta")],
    ];
    for (run, loss) in (1..).zip(losses) {
        world.publish(run, &rows).await;
        assert_eq!(world.touch(run).await, Touched::Renewed);
        let words: Vec<&str> = loss.iter().map(String::as_str).collect();
        let lost: i64 = world.ask(&words).await;
        assert_eq!(lost, 1, "{loss:?}");
        assert_eq!(world.touch(run).await, Touched::Missing, "{loss:?}");
        assert_eq!(world.shown().await, None, "{loss:?}");
        let boards = &world.boards;
        assert_eq!(boards.meta(&world.board).await.unwrap(), None);
        assert_eq!(boards.rank(&world.board, "b").await.unwrap(), None);
        assert_eq!(boards.scores(&world.board, &["b"]).await.unwrap(), None);
        let changed = world.change(run + 1, run, &set(&[("c", 3)])).await;
        assert_eq!(changed, Changed::Mismatch, "{loss:?}");
    }
    world.publish(9, &rows).await;
    assert_eq!(world.shown().await, Some((9, owned(&rows))));
}
