//! Rates that operators have changed.

use super::*;

/// What an operator says of [`PROVIDER`]: five times as many.
const FASTER: RateLimit = RateLimit {
    count: 5,
    burst: 1,
    ..PROVIDER
};

/// After what every process knows of what operators have said.
async fn everybody_knows() {
    tokio::time::sleep(Duration::from_millis(2_100)).await;
}

#[tokio::test]
async fn rule_9_another_rate_counts_for_what_comes_and_what_has_a_slot_keeps_it() {
    let limited = Limited::new(12, &[]).await;
    let pool = limited.world.database.pool().clone();
    let (first, second) = (["a", "b", "c", "d", "e"], ["f", "g", "h", "i", "j", "k"]);
    limited.deliver("mails", &first.map(titled)).await;
    let slow = ["c limited 1", "d limited 2", "e limited 3"];
    assert_eq!(limited.slots().await, slow);
    pool.execute(
        "INSERT INTO nightshift.rate_override (name, count, per_micros, burst, changed_by)
         VALUES ('provider', 5, 600000000, 1, 'an operator'), ('another', 1, 1, 1, 'an operator')",
    )
    .await
    .unwrap();
    everybody_knows().await;
    // Of those that come now four have their slots before the first one of the others: the rate is another
    // one, and it does not wait for what was given out before.
    limited.deliver("texts", &second.map(titled)).await;
    assert_eq!(limited.world.effects().await, ["a 1", "b 1", "f 1"]);
    let faster = [
        "g limited 0",
        "h limited 0",
        "i limited 0",
        "j limited 0",
        "k limited 1",
    ];
    assert_eq!(limited.slots().await, [&slow[..], &faster[..]].concat());
    assert_eq!(limited.taken(&PROVIDER).await, 5);
    assert_eq!(limited.taken(&FASTER).await, 6);
    // Whatever comes again takes no slot at either rate.
    limited.deliver("mails", &first.map(titled)).await;
    limited.deliver("texts", &second.map(titled)).await;
    // It is taken back.
    pool.execute("DELETE FROM nightshift.rate_override")
        .await
        .unwrap();
    everybody_knows().await;
    limited.deliver("mails", &["l"].map(titled)).await;
    assert_eq!(
        limited.slots().await,
        [&slow[..], &faster[..], &["l limited 4"]].concat()
    );
    limited.deliver_copies("mails").await;
    limited.deliver_copies("texts").await;
    assert_eq!(limited.taken(&PROVIDER).await, 6);
    assert_eq!(limited.taken(&FASTER).await, 6);
    let once = "abcdefghijkl".chars().map(|title| format!("{title} 1"));
    assert_eq!(limited.world.effects().await, once.collect::<Vec<_>>());
    limited.world.end().await;
}

#[tokio::test]
async fn rule_9_what_finds_no_slot_within_thirty_days_asks_again_within_an_hour() {
    let limited = Limited::new(13, &[]).await;
    let pool = limited.world.database.pool().clone();
    // One in thirty days: the first runs, the second has the last slot that is given out.
    pool.execute(
        "INSERT INTO nightshift.rate_override (name, count, per_micros, burst, changed_by)
         VALUES ('provider', 1, 2592000000000, 1, 'an operator by mistake')",
    )
    .await
    .unwrap();
    everybody_knows().await;
    limited
        .deliver("mails", &["a", "b", "c", "d"].map(titled))
        .await;
    assert_eq!(limited.world.effects().await, ["a 1"]);
    let waiting = "SELECT count(*) FILTER (WHERE reason = 'closed'),
            count(*) FILTER (WHERE reason = 'closed' AND due_at > $1::timestamptz + interval '1 hour'),
            count(*) FILTER (WHERE reason = 'limited' AND due_at > $1::timestamptz + interval '29 days')
        FROM nightshift.open_message";
    let (closed, too_late, slots): (i64, i64, i64) = sqlx::query_as(waiting)
        .bind(limited.world.clock.now())
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!((closed + slots, too_late), (3, 0));
    assert!(closed >= 2, "{closed} have no slot");
    // It is taken back, and who had no slot runs when it asks.
    pool.execute("DELETE FROM nightshift.rate_override")
        .await
        .unwrap();
    everybody_knows().await;
    limited.world.clock.advance(Duration::from_hours(1));
    limited.deliver_copies("mails").await;
    assert_eq!(limited.world.effects().await, ["a 1", "b 1", "c 1", "d 1"]);
    limited.world.end().await;
}
