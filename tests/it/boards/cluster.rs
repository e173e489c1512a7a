//! Clusters: everything of a board on one of their servers, and the boards on both.

use nightshift_cache::limit::{Wanted, reserve};
use nightshift_cli::servers::RedisCluster;
use nightshift_job::{RateLimit, WhenAway};

use super::*;

/// The first slot of the second server.
const SECOND: i64 = 8_192;

async fn slot(world: &World, key: &str) -> i64 {
    world.ask(&["CLUSTER", "KEYSLOT", key]).await
}

/// Names of different lengths: those that differ in a digit only may all be in the slots of one server.
fn name(stem: &str, number: usize) -> String {
    format!("{stem}{}", "-".repeat(number))
}

#[tokio::test]
async fn all_keys_of_a_board_are_in_one_slot_and_boards_are_on_both_servers() {
    let mut on_second = 0;
    for number in 0..20 {
        let world = World::new(&Kind::Cluster.url(), &name("both", number)).await;
        let meta = plain(1, 2);
        let publication = Publication {
            extras: Extras {
                top: Some(b"[]"),
                buckets: Some(b"b"),
            },
            ..world.publication(&meta)
        };
        let rows = chunks(&owned(&[("b", 2), ("a", 1)]));
        let published = world.boards.publish_all(publication, rows, DEADLINE);
        published.await.unwrap();
        let place = slot(&world, world.board.key()).await;
        for end in ["meta", "top", "buckets", "tmp:1:1"] {
            assert_eq!(slot(&world, &world.beside(end)).await, place, "{end}");
        }
        on_second += usize::from(place >= SECOND);
        let mut changes = Changes::default();
        changes.set("c", points(3));
        let changed = world.change(2, 1, &changes).await;
        assert_eq!(changed, Changed::Published { size: 3 });
        assert_eq!(world.touch(2).await, Touched::Renewed);
        assert_eq!(world.shown().await.unwrap().0, 2);
    }
    assert!((1..20).contains(&on_second), "{on_second} of 20 boards");
}

#[tokio::test]
async fn limits_work_on_both_servers_too() {
    let world = World::new(&Kind::Cluster.url(), "limits").await;
    let cache = crate::cache::cache_at(&Kind::Cluster.url());
    cache.check().await.unwrap();
    let mut on_second = 0;
    for number in 0..10 {
        let limit = RateLimit {
            name: format!("{}-{}", name("cluster", number), std::process::id()).leak(),
            count: 1,
            per: Duration::from_hours(1),
            burst: 2,
            when_away: WhenAway::Closed,
        };
        let wanted = Wanted {
            count: 3,
            by_free: &[],
            ahead: Duration::from_hours(24),
        };
        let slots = reserve(&cache, &limit, wanted).await.unwrap();
        let late = slots.wait(2).unwrap();
        assert_eq!(slots.wait(1), Some(Duration::ZERO));
        assert!(late > Duration::from_mins(50), "{late:?}");
        let key = format!("nightshift:limit:{{{}}}:{}", limit.name, 3_600_000_000_u64);
        assert!(world.exists(&key).await);
        on_second += usize::from(slot(&world, &key).await >= SECOND);
    }
    assert!((1..10).contains(&on_second), "{on_second} of 10 limits");
}

#[tokio::test]
async fn a_cluster_that_we_may_not_see_says_what_to_look_at() {
    let world = World::new(&Kind::Cluster.url(), "unseen").await;
    let () = world
        .ask(&[
            "ACL", "SETUSER", "unseen", "on", ">secret1", "~*", "+@all", "-cluster",
        ])
        .await;
    let (_, address) = world.url.rsplit_once('@').unwrap();
    let blind = boards_at(&format!("redis://unseen:secret1@{address}"));
    let mut refused = 0;
    for number in 0..20 {
        let board = board(&name("unseen", number));
        match blind.top(&board, 1).await {
            Ok(standings) => assert_eq!(standings, None),
            Err(CacheError::Denied(_)) => {
                refused += 1;
                // The refusal counts for the others too, for a second.
                break;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(refused, 1);
}

/// Closes every connection to both servers.
async fn cut(cluster: &RedisCluster) {
    let mut all = 0;
    for port in cluster.ports() {
        let mut connection = crate::cache::connect(&cluster.url_of(*port)).await;
        let mut kill = redis::cmd("CLIENT");
        kill.arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]);
        let killed: i64 = kill.query_async(&mut connection).await.unwrap();
        all += killed;
    }
    assert!(all >= 1, "nobody was connected");
}

#[tokio::test]
async fn connections_that_break_are_made_again_and_the_board_stays_whole() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = RedisCluster::start(folder.path()).await;
    let cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
    let (boards, board) = (boards_at(&cluster.url()), board("cut"));
    let shown = async || {
        let top = boards.top(&board, 10).await.unwrap().unwrap();
        let names = top.rows.into_iter().map(|row| row.member);
        (top.meta.run.0, names.collect::<Vec<_>>())
    };
    let metas = [plain(1, 2), plain(2, 2)];
    let publication = |run: usize| Publication {
        board: &board,
        meta: &metas[run - 1],
        extras: Extras::default(),
        expiry: EXPIRY,
    };
    let both = || chunks(&owned(&[("b", 2), ("a", 1)]));
    let whole = ["b", "a"].map(str::to_owned).to_vec();
    let first = boards.publish_all(publication(1), both(), DEADLINE);
    first.await.unwrap();
    cut(&cluster).await;
    assert_eq!(shown().await, (1, whole.clone()));
    cut(&cluster).await;
    let second = boards.publish_all(publication(2), both(), DEADLINE);
    let size = 2;
    assert_eq!(second.await.unwrap(), Published::Published { size });
    assert_eq!(shown().await, (2, whole.clone()));
}
