//! A user who may do only what the documentation says it needs.

use super::*;

/// What the documentation of boards lists.
const RIGHTS: &str = "+evalsha +eval +ping +multi +exec +get +unlink +set +rename +pexpire \
    +hget +hset +hgetall +hincrby +zadd +zrem +zremrangebyrank +zcard +zcount +zscore +zrank \
    +zrevrank +zrange +zrevrange ~leaderboard:test:* ~{leaderboard:test:*";

#[tokio::test]
async fn what_is_documented_is_enough() {
    for kind in [Kind::Found, Kind::Six] {
        let world = World::new(&kind.url(), "rights").await;
        let mut words = vec!["ACL", "SETUSER", "test-boards", "reset", "on", ">secret1"];
        words.extend(RIGHTS.split_whitespace());
        let () = world.ask(&words).await;
        let (_, address) = world.url.rsplit_once('@').unwrap();
        let world = World {
            boards: boards_at(&format!("redis://test-boards:secret1@{address}")),
            ..world
        };
        let rows = [("b", 2), ("a", 1)];
        for run in [1, 3] {
            let meta = plain(run, 2);
            let publication = Publication {
                extras: Extras {
                    top: Some(b"[]"),
                    buckets: Some(b"b"),
                },
                ..world.publication(&meta)
            };
            let published = world
                .boards
                .publish_all(publication, chunks(&owned(&rows)), DEADLINE);
            published.await.unwrap();
            let mut changes = Changes::default();
            changes.set("c", points(3));
            changes.remove("a");
            let changed = world.change(run + 1, run, &changes).await;
            assert_eq!(changed, Changed::Published { size: 2 });
            assert_eq!(world.touch(run + 1).await, Touched::Renewed);
        }
        let (boards, board) = (&world.boards, &world.board);
        assert_eq!(world.shown().await, Some((4, owned(&[("c", 3), ("b", 2)]))));
        assert_eq!(boards.meta(board).await.unwrap().unwrap().run, Run(4));
        assert_eq!(
            boards.rank(board, "b").await.unwrap().unwrap().rows[0].rank,
            2
        );
        assert_eq!(boards.top_rendered(board).await.unwrap(), None);
        let scores = boards.scores(board, &["c"]).await.unwrap().unwrap();
        assert_eq!(scores.scores.len(), 1);
        assert!(boards.forget_member(board, "c", DEADLINE).await.unwrap());
        boards
            .remove(std::slice::from_ref(board), DEADLINE)
            .await
            .unwrap();
        assert_eq!(world.shown().await, None);
    }
}
