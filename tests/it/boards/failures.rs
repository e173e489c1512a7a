//! Servers in trouble: what they show stays whole, and what they refuse has a type. Each test has a server
//! of its own, of each version.

use futures_util::StreamExt;
use nightshift_cli::servers::{Redis, RedisVersion};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::publishing::until_written;
use super::*;
use crate::cache::Relay;

/// A server that a test may break.
struct Own {
    world: World,
    _server: Redis,
    _folder: TempDir,
}

async fn own(version: RedisVersion, name: &str) -> Own {
    let folder = tempfile::tempdir().unwrap();
    let server = Redis::start(version, folder.path()).await;
    let server = server.unwrap_or_else(|error| panic!("{error}"));
    Own {
        world: World::new(&server.url(), name).await,
        _server: server,
        _folder: folder,
    }
}

/// Runs each test on a server of its own of each version.
macro_rules! on_own {
    ($($test:ident),+ $(,)?) => {
        mod found {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(super::own(super::RedisVersion::Found, stringify!($test)).await).await;
                }
            )+
        }
        mod six {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(super::own(super::RedisVersion::Six, stringify!($test)).await).await;
                }
            )+
        }
    };
}

on_own!(
    a_server_without_memory_keeps_what_it_shows,
    a_read_only_replica_says_so,
    a_server_that_was_emptied_is_noticed,
    a_connection_that_breaks_in_the_middle_fails_once,
    an_idle_connection_that_was_closed_is_made_again,
    a_server_that_forgets_its_scripts_gets_them_again,
);

/// Publishes `rows` as `run` and expects a failure.
async fn failure(world: &World, run: i64, rows: &[(&str, i64)]) -> CacheError {
    let meta = plain(run, rows.len());
    let publication = world.publication(&meta);
    let published = world
        .boards
        .publish_all(publication, chunks(&owned(rows)), DEADLINE);
    published.await.unwrap_err()
}

async fn failure_of_changes(world: &World, run: i64, previous: i64) -> CacheError {
    let mut changes = Changes::default();
    changes.set("new", points(9));
    let meta = plain(run, 0);
    let changed = world.boards.publish_changes(
        world.publication(&meta),
        Run(previous),
        &changes,
        None,
        DEADLINE,
    );
    changed.await.unwrap_err()
}

async fn a_server_without_memory_keeps_what_it_shows(own: Own) {
    let world = &own.world;
    let rows = [("b", 2), ("a", 1)];
    world.publish(1, &rows).await;
    let limit = async |bytes: &str| {
        let words = ["CONFIG", "SET", "maxmemory", bytes];
        let () = world.ask(&words).await;
    };
    let () = world
        .ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"])
        .await;
    limit("1").await;
    for error in [
        failure(world, 2, &[("c", 3)]).await,
        // Where nothing is written before it is shown, the script that shows it is refused.
        failure(world, 2, &[]).await,
        failure_of_changes(world, 2, 1).await,
    ] {
        assert!(matches!(error, CacheError::NotReady(_)), "{error:?}");
    }
    assert_eq!(world.shown().await, Some((1, owned(&rows))));
    assert_eq!(world.temporary(2).await, None);
    let longer = Expiry {
        board: EXPIRY.board * 4,
        ..EXPIRY
    };
    let touched = world.boards.touch(&world.board, Run(1), longer, DEADLINE);
    assert_eq!(touched.await.unwrap(), Touched::Renewed);
    let lifetime = world.lifetime(world.board.key()).await;
    assert!(Duration::from_millis(lifetime.unsigned_abs()) > EXPIRY.board);
    limit("0").await;
    world.publish(2, &[("c", 3)]).await;
    assert_eq!(world.shown().await, Some((2, owned(&[("c", 3)]))));
}

async fn a_read_only_replica_says_so(own: Own) {
    let world = &own.world;
    let rows = [("b", 2), ("a", 1)];
    world.publish(1, &rows).await;
    let () = world.ask(&["REPLICAOF", "127.0.0.1", "1"]).await;
    for error in [
        failure(world, 2, &[("c", 3)]).await,
        failure_of_changes(world, 2, 1).await,
        world
            .boards
            .touch(&world.board, Run(1), EXPIRY, DEADLINE)
            .await
            .unwrap_err(),
    ] {
        assert!(matches!(error, CacheError::NotReady(_)), "{error:?}");
    }
    assert_eq!(world.shown().await, Some((1, owned(&rows))));
    let () = world.ask(&["REPLICAOF", "NO", "ONE"]).await;
    world.publish(2, &[("c", 3)]).await;
    assert_eq!(world.shown().await, Some((2, owned(&[("c", 3)]))));
}

async fn a_server_that_was_emptied_is_noticed(own: Own) {
    let world = &own.world;
    let rows = [("b", 2), ("a", 1)];
    world.publish(1, &rows).await;
    assert_eq!(world.touch(1).await, Touched::Renewed);
    let () = world.ask(&["FLUSHALL"]).await;
    assert_eq!(world.touch(1).await, Touched::Missing);
    assert_eq!(world.shown().await, None);
    let mut changes = Changes::default();
    changes.set("c", points(3));
    assert_eq!(world.change(2, 1, &changes).await, Changed::Mismatch);
    world.publish(2, &rows).await;
    assert_eq!(world.shown().await, Some((2, owned(&rows))));
    // In the middle of a publication too.
    let meta = plain(3, 2);
    let (go, wait) = oneshot::channel::<()>();
    let slow = chunks(&owned(&[("a", 1)])).chain(second_half(wait));
    let publishing = world
        .boards
        .publish_all(world.publication(&meta), slow, DEADLINE);
    let emptying = async {
        until_written(world, 3).await;
        let () = world.ask(&["FLUSHALL"]).await;
        go.send(()).unwrap();
    };
    let (published, ()) = tokio::join!(publishing, emptying);
    let error = published.unwrap_err();
    let lost = matches!(
        error,
        CacheError::Disturbed {
            written: 2,
            found: 1,
            ..
        }
    );
    assert!(lost, "{error:?}");
    assert!(error.to_string().ends_with("publish again"), "{error}");
    assert_eq!(world.shown().await, None);
    let keys: Vec<String> = world.ask(&["KEYS", "*"]).await;
    assert_eq!(keys, [""; 0]);
}

async fn a_connection_that_breaks_in_the_middle_fails_once(own: Own) {
    let world = &own.world;
    let rows = [("b", 2), ("a", 1)];
    world.publish(1, &rows).await;
    let meta = plain(2, 2);
    let (go, wait) = oneshot::channel::<()>();
    let slow = chunks(&owned(&[("a", 1)])).chain(second_half(wait));
    let publishing = world
        .boards
        .publish_all(world.publication(&meta), slow, DEADLINE);
    let killing = async {
        until_written(world, 2).await;
        let killed: i64 = world
            .ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
            .await;
        assert!(killed >= 1, "{killed}");
        go.send(()).unwrap();
    };
    let (published, ()) = tokio::join!(publishing, killing);
    let error = published.unwrap_err();
    assert!(matches!(error, CacheError::Unreachable(_)), "{error:?}");
    assert_eq!(world.shown().await, Some((1, owned(&rows))));
    // The next one does not rest.
    let after = [("b", 3)];
    world.publish(2, &after).await;
    assert_eq!(world.shown().await, Some((2, owned(&after))));
}

async fn an_idle_connection_that_was_closed_is_made_again(own: Own) {
    let world = &own.world;
    for run in 1..=3 {
        let published = world.publish(run, &[("a", run)]).await;
        assert_eq!(published, Published::Published { size: 1 });
        let _killed: i64 = world
            .ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
            .await;
        assert_eq!(world.shown().await, Some((run, owned(&[("a", run)]))));
        let _killed: i64 = world
            .ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
            .await;
    }
}

async fn a_server_that_forgets_its_scripts_gets_them_again(own: Own) {
    let world = &own.world;
    for run in 1..=2 {
        world.publish(run, &[("a", run)]).await;
        let () = world.ask(&["SCRIPT", "FLUSH"]).await;
        assert_eq!(world.shown().await, Some((run, owned(&[("a", run)]))));
        let () = world.ask(&["SCRIPT", "FLUSH"]).await;
        assert_eq!(world.touch(run).await, Touched::Renewed);
    }
}

#[tokio::test]
async fn a_server_that_hangs_fails_in_time_and_nobody_rests_for_it() {
    let relay = Relay::start(&Kind::Found.url()).await;
    let world = World::new(&Kind::Found.url(), "hangs").await;
    let world = World {
        boards: boards_at(relay.url()),
        ..world
    };
    world.publish(1, &[("a", 1)]).await;
    relay.hold();
    let brief = Duration::from_millis(300);
    let meta = plain(2, 1);
    let rows = chunks(&owned(&[("b", 2)]));
    let published = world
        .boards
        .publish_all(world.publication(&meta), rows, brief);
    let error = published.await.unwrap_err();
    assert!(
        matches!(error, CacheError::TooSlow(span) if span == brief),
        "{error:?}"
    );
    relay.forward();
    world.publish(2, &[("b", 2)]).await;
    // What the server has done, and could not say.
    relay.lose_answers();
    let meta = plain(3, 1);
    let rows = chunks(&owned(&[("c", 3)]));
    let published = world
        .boards
        .publish_all(world.publication(&meta), rows, brief);
    published.await.unwrap_err();
    relay.forward();
    let mut changes = Changes::default();
    changes.set("d", points(4));
    assert_eq!(
        world.change(4, 2, &changes).await,
        Changed::Published { size: 2 }
    );
    assert_eq!(world.shown().await, Some((4, owned(&[("d", 4), ("b", 2)]))));
}

/// The member `b`, when the test says so.
fn second_half(
    wait: oneshot::Receiver<()>,
) -> impl futures_util::Stream<Item = Result<Rows, CacheError>> {
    let half = async {
        wait.await.unwrap();
        let mut rows = Rows::default();
        rows.push("b", points(2));
        Ok(rows)
    };
    stream::once(half).boxed()
}
