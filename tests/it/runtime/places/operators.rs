//! Operators say how many places there are.

use std::collections::BTreeMap;

use super::*;

impl Places {
    /// Polls until no more than `left` messages wait or are at work.
    async fn until_left(&self, left: usize) {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while self.world.waiting().await.len() > left {
            let waiting = self.world.waiting().await;
            assert!(std::time::Instant::now() < deadline, "{waiting:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The functions of which messages with the key "a" wait although one of `declared` places is free.
    pub(super) async fn stuck(&self, declared: u32) -> Vec<String> {
        let mut connection = self.pool.acquire().await.unwrap();
        let declared = BTreeMap::from([("keyed", declared), ("another", 7)]);
        let stuck = open_message::stuck_queues(&mut connection, &declared, 10).await;
        let stuck = stuck.unwrap().into_iter().map(|(function, key)| {
            assert_eq!(key, ConcurrencyKey::of("keyed", "a"));
            function
        });
        stuck.collect()
    }

    /// Wakes those who wait for one of `declared` places of the key "a", and says how many they are.
    pub(super) async fn wake(&self, declared: u32) -> usize {
        let places = open_message::Places {
            function: "keyed",
            key: ConcurrencyKey::of("keyed", "a"),
            declared,
        };
        let mut tx = self.pool.begin().await.unwrap();
        let woken = open_message::wake_queued(&mut tx, places).await.unwrap();
        tx.commit().await.unwrap();
        let due = "UPDATE nightshift.open_message SET rescue_at = now() WHERE reason = 'turn'";
        self.pool.execute(due).await.unwrap();
        woken.len()
    }

    /// What an operator says of the function.
    async fn say(&self, places: Option<i64>) {
        let forget = "DELETE FROM nightshift.places_override";
        self.pool.execute(forget).await.unwrap();
        let say = "INSERT INTO nightshift.places_override (function, places, changed_by)
            SELECT 'keyed', $1, 'an operator' WHERE $1 IS NOT NULL";
        let say = sqlx::query(say).bind(places).execute(&self.pool);
        say.await.unwrap();
    }
}

#[tokio::test]
async fn rule_9_more_places_wake_who_waits_although_nobody_gives_one_up() {
    let places = Places::new().await;
    let process = places.process::<1, false>();
    let original = [numbered("a held", 0)];
    let held = deliver_to(&process, "keyed", &original);
    let others = async {
        places.until_at_work("a held").await;
        for message in several("a", 1..4) {
            deliver_to(&process, "keyed", &[message]).await.unwrap();
        }
        assert_eq!(places.stuck(1).await, [""; 0]);
        places.say(Some(2)).await;
        assert_eq!(places.stuck(1).await, ["keyed"]);
        assert_eq!(places.wake(1).await, 1);
        assert_eq!(places.stuck(1).await, [""; 0]);
        // The one that is woken passes its place on when it ends, and so do the others.
        let copies = take_overdue(&places.pool, start_of_time()).await;
        places.drive(&process, "keyed", copies).await;
        assert_eq!(places.worked().await, ["a held", "a 1", "a 2", "a 3"]);
        places.gate.add_permits(1);
    };
    let (held, ()) = tokio::join!(held, others);
    held.unwrap();
    assert_eq!(places.most_at_a_time().await, ["a 2"]);
    places.end().await;
}

#[tokio::test]
async fn rule_9_who_ends_passes_on_as_many_places_as_there_are_by_then() {
    let places = Places::new().await;
    let process = places.process::<1, false>();
    let original = [numbered("a held", 0)];
    let held = deliver_to(&process, "keyed", &original);
    let others = async {
        places.until_at_work("a held").await;
        for message in several("a", 1..5) {
            deliver_to(&process, "keyed", &[message]).await.unwrap();
        }
        places.say(Some(3)).await;
        places.gate.add_permits(1);
    };
    let (held, ()) = tokio::join!(held, others);
    held.unwrap();
    assert_eq!(
        places.world.waiting().await,
        [
            "a 1 turn 2 0",
            "a 2 turn 2 0",
            "a 3 turn 2 0",
            "a 4 queued 1 0"
        ]
    );
    let copies = places.world.promised().await;
    places.drive(&process, "keyed", copies).await;
    assert_eq!(places.worked().await.len(), 5);
    places.end().await;
}

#[tokio::test]
async fn rule_9_of_fewer_places_nobody_gets_one_until_enough_have_ended() {
    let places = Places::new().await;
    let process = places.process::<3, false>();
    let originals = ["a held 1", "a held 2", "a held 3"].map(|title| [numbered(title, 0)]);
    let held = originals
        .each_ref()
        .map(|one| deliver_to(&process, "keyed", one));
    let others = async {
        for title in ["a held 1", "a held 2", "a held 3"] {
            places.until_at_work(title).await;
        }
        places.say(Some(1)).await;
        for message in several("a", 4..6) {
            deliver_to(&process, "keyed", &[message]).await.unwrap();
        }
        for ended in 1..=3 {
            places.gate.add_permits(1);
            places.until_left(5 - ended).await;
            let waiting = places.world.waiting().await;
            let turns = waiting.iter().filter(|row| row.contains("turn")).count();
            assert_eq!(turns, usize::from(ended == 3), "after {ended}: {waiting:?}");
        }
        // It is taken back: there are as many places as the code says.
        assert_eq!(places.world.promised().await.len(), 1);
        assert_eq!(places.stuck(3).await, [""; 0]);
        places.say(None).await;
        assert_eq!(places.stuck(3).await, ["keyed"]);
        assert_eq!(places.wake(3).await, 1);
        let copies = take_overdue(&places.pool, start_of_time()).await;
        assert_eq!(copies.len(), 2);
        places.drive(&process, "keyed", copies).await;
    };
    let (held, ()) = tokio::join!(futures_util::future::join_all(held), others);
    for delivered in held {
        delivered.unwrap();
    }
    assert_eq!(places.worked().await.len(), 5);
    places.end().await;
}
