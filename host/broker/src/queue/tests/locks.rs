//! Peek-locks: who holds a message, until when, and what a lost lock means.

use nightshift_amqp::Map;

use super::*;

#[test]
fn a_locked_message_is_seen_by_nobody_else_until_it_is_settled() {
    let mut bench = Bench::new(&QueueConfig::new("q"));
    bench.send("a");
    let delivery = bench.lock();
    assert_eq!(
        (text(&delivery).as_str(), delivery.delivery_count),
        ("a", 0)
    );
    assert!(bench.take(SubQueue::Active, 9).is_empty());
    assert_eq!(bench.counts(), (0, 1, 0));
    bench.settle(&delivery, &Settlement::Complete).unwrap();
    assert_eq!(bench.counts(), (0, 0, 0));
    assert_eq!(bench.queue.counts().bytes, 0);
}

#[test]
fn a_lock_that_ends_counts_a_delivery_and_takes_its_token_with_it() {
    let mut bench = Bench::new(&QueueConfig::new("q").lock_duration(Duration::from_secs(30)));
    bench.send("a");
    let first = bench.lock();
    assert_eq!(bench.queue.next_deadline_ms(), Some(first.lock.until_ms));
    bench.pass(Duration::from_millis(29_999));
    assert_eq!(bench.counts(), (0, 1, 0));
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.counts(), (1, 0, 0));
    assert_eq!(
        bench.settle(&first, &Settlement::Complete),
        Err(NotSettled::LockLost)
    );
    let second = bench.lock();
    assert_eq!(second.delivery_count, 1);
    assert_ne!(first.lock.token, second.lock.token);
    assert_eq!(
        bench.settle(&first, &Settlement::Complete),
        Err(NotSettled::LockLost)
    );
    bench.settle(&second, &Settlement::Complete).unwrap();
    assert_eq!(
        bench.settle(&second, &Settlement::Complete),
        Err(NotSettled::LockLost)
    );
}

#[test]
fn a_lock_is_over_at_its_instant_even_when_nobody_looked() {
    let mut bench = Bench::new(&QueueConfig::new("q"));
    bench.send("a");
    let delivery = bench.lock();
    bench.now += Duration::from_mins(1);
    assert_eq!(
        bench.settle(&delivery, &Settlement::Complete),
        Err(NotSettled::LockLost)
    );
    assert_eq!(bench.lock().delivery_count, 1);
}

#[test]
fn a_renewed_lock_starts_anew() {
    let mut bench = Bench::new(&QueueConfig::new("q"));
    bench.send("a");
    let delivery = bench.lock();
    for _ in 0..5 {
        bench.pass(Duration::from_secs(45));
        let until_ms = bench.queue.renew(bench.now, delivery.lock.token).unwrap();
        assert_eq!(until_ms, bench.now.timestamp_millis() + 60_000);
    }
    bench.settle(&delivery, &Settlement::Complete).unwrap();
    assert_eq!(
        bench.queue.renew(bench.now, delivery.lock.token),
        Err(NotSettled::LockLost)
    );
}

#[test]
fn abandoning_counts_and_releasing_does_not() {
    let mut bench = Bench::new(&QueueConfig::new("q"));
    bench.send("a");
    let delivery = bench.lock();
    bench.settle(&delivery, &Settlement::Release).unwrap();
    let delivery = bench.lock();
    assert_eq!(delivery.delivery_count, 0);
    bench.abandon(&delivery);
    assert_eq!(bench.lock().delivery_count, 1);
}

#[test]
fn made_up_tokens_settle_nothing() {
    let mut bench = Bench::new(&QueueConfig::new("q"));
    bench.send("a");
    let delivery = bench.lock();
    for (nonce, sequence) in [
        (delivery.lock.token.nonce ^ 1, 1),
        (0, 0),
        (1, u64::MAX),
        (0, 2),
    ] {
        let forged = LockToken { nonce, sequence };
        let settled = bench.queue.settle(bench.now, forged, &Settlement::Complete);
        assert_eq!(settled, Err(NotSettled::LockLost));
    }
    assert_eq!(bench.counts(), (0, 1, 0));
}

#[test]
fn several_messages_are_settled_together_or_not_at_all() {
    let mut bench = Bench::new(&QueueConfig::new("q").max_delivery_count(9));
    bench.send("a");
    // Application properties that cannot be read, so that nothing can be added to them.
    let broken = b"\x00\x53\x74\xc1\x03\x02\xff\xff\x00\x53\x75\xa0\x01b";
    bench
        .submit(Submission {
            content: Content::new(broken, 0, 0),
            ..submission_of("b")
        })
        .unwrap();
    bench.send("c");
    let all = bench.take(SubQueue::Active, 9);
    let tokens: Vec<LockToken> = all.iter().map(|delivery| delivery.lock.token).collect();
    let Bench { queue, now } = &mut bench;
    let changes = Amendments::from_map(Some(Map::from_iter([("k", "v")])));
    let abandon = Settlement::Abandon(changes);
    let refused = queue.settle_all(*now, tokens.clone(), &abandon);
    assert!(matches!(refused, Err(NotSettled::Unamendable(_))));
    assert!(tokens.iter().all(|token| queue.holds(*now, *token)));

    let lost = LockToken {
        nonce: !tokens[2].nonce,
        ..tokens[2]
    };
    let refused = queue.settle_all(*now, vec![tokens[0], lost], &Settlement::Complete);
    assert_eq!(refused, Err(NotSettled::LockLost));
    assert!(tokens.iter().all(|token| queue.holds(*now, *token)));

    // A message that is named twice is meant once.
    let twice = vec![tokens[0], tokens[2], tokens[0]];
    queue.settle_all(*now, twice, &abandon).unwrap();
    assert_eq!(bench.counts(), (2, 1, 0));
}
