//! Deferred messages: only by their numbers, and deferred until they are settled for good.

use super::*;

fn defer(bench: &mut Bench) -> u64 {
    let delivery = bench.lock();
    bench
        .settle(&delivery, &Settlement::Defer(Amendments::default()))
        .unwrap();
    delivery.sequence
}

fn receive(bench: &mut Bench, sequences: &[u64]) -> Result<Vec<Delivery>, NotReceived> {
    bench.queue.receive_deferred(
        bench.now,
        Place::SubQueue(SubQueue::Active),
        sequences,
        usize::MAX,
    )
}

#[test]
fn a_deferred_message_is_received_by_its_number_only() {
    let mut bench = Bench::new(&QueueConfig::new("q"));
    bench.send("a");
    let number = defer(&mut bench);
    assert!(bench.take(SubQueue::Active, 9).is_empty());
    let counts = bench.queue.counts();
    assert_eq!((counts.active, counts.locked, counts.deferred), (0, 0, 1));
    let delivery = receive(&mut bench, &[number]).unwrap().pop().unwrap();
    assert_eq!(
        (text(&delivery).as_str(), delivery.delivery_count),
        ("a", 1)
    );
    assert_eq!(delivery.standing, Standing::Deferred);
    assert_eq!(
        receive(&mut bench, &[number]).unwrap_err(),
        NotReceived::Missing(number)
    );
    bench.settle(&delivery, &Settlement::Complete).unwrap();
    assert_eq!(bench.queue.counts().bytes, 0);
}

#[test]
fn it_stays_deferred_when_abandoned_released_or_left_to_its_lock() {
    let mut bench = Bench::new(&QueueConfig::new("q"));
    bench.send("a");
    let number = defer(&mut bench);
    for how in 0..3 {
        let delivery = receive(&mut bench, &[number]).unwrap().pop().unwrap();
        match how {
            0 => bench.abandon(&delivery),
            1 => bench.settle(&delivery, &Settlement::Release).unwrap(),
            _ => {
                bench.queue.renew(bench.now, delivery.lock.token).unwrap();
                bench.pass(Duration::from_mins(1));
            }
        }
        assert!(bench.take(SubQueue::Active, 9).is_empty());
        assert_eq!(bench.queue.counts().deferred, 1);
    }
    let delivery = receive(&mut bench, &[number]).unwrap().pop().unwrap();
    assert_eq!(delivery.delivery_count, 3);
}

#[test]
fn it_can_fail_too_often() {
    let mut bench = Bench::new(&QueueConfig::new("q").max_delivery_count(2));
    bench.send("a");
    let number = defer(&mut bench);
    let delivery = receive(&mut bench, &[number]).unwrap().pop().unwrap();
    bench.abandon(&delivery);
    assert_eq!(bench.counts(), (0, 0, 1));
    assert_eq!(bench.queue.counts().deferred, 0);
    assert_eq!(bench.lock_dead().standing, Standing::Active);
}

#[test]
fn all_are_received_or_none() {
    let mut bench = Bench::new(&QueueConfig::new("q"));
    bench.send("a");
    bench.send("b");
    let [a, b] = [defer(&mut bench), defer(&mut bench)];
    bench.send("active");
    for missing in [3, 0, 99] {
        let refused = receive(&mut bench, &[a, missing]).unwrap_err();
        assert_eq!(refused, NotReceived::Missing(missing));
    }
    let limited =
        bench
            .queue
            .receive_deferred(bench.now, Place::SubQueue(SubQueue::Active), &[a, b], 7);
    assert_eq!(limited.unwrap_err(), NotReceived::TooLarge(7));
    let dead =
        bench
            .queue
            .receive_deferred(bench.now, Place::SubQueue(SubQueue::DeadLetter), &[a], 999);
    assert_eq!(dead.unwrap_err(), NotReceived::Missing(a));
    assert_eq!(texts(&receive(&mut bench, &[b, a]).unwrap()), ["b", "a"]);
}

#[test]
fn a_dead_letter_can_be_deferred_too() {
    let mut bench = Bench::new(&QueueConfig::new("q").max_delivery_count(1));
    bench.send("a");
    let delivery = bench.lock();
    bench.abandon(&delivery);
    let dead = bench.lock_dead();
    bench
        .settle(&dead, &Settlement::Defer(Amendments::default()))
        .unwrap();
    assert!(bench.take(SubQueue::DeadLetter, 9).is_empty());
    let received = bench.queue.receive_deferred(
        bench.now,
        Place::SubQueue(SubQueue::DeadLetter),
        &[dead.sequence],
        999,
    );
    let dead = received.unwrap().pop().unwrap();
    bench.settle(&dead, &Settlement::Complete).unwrap();
    assert_eq!(bench.counts(), (0, 0, 0));
}

#[test]
fn its_age_counts_when_somebody_asks() {
    let config = QueueConfig::new("q")
        .default_ttl(Duration::from_secs(90))
        .dead_letter_on_expiration(true);
    let mut bench = Bench::new(&config);
    bench.send("a");
    let number = defer(&mut bench);
    bench.pass(Duration::from_secs(90));
    assert_eq!(bench.queue.counts().deferred, 1);
    assert_eq!(
        receive(&mut bench, &[number]).unwrap_err(),
        NotReceived::Missing(number)
    );
    assert_eq!(bench.counts(), (0, 0, 1));
}

#[test]
fn browsing_shows_every_state_in_order_and_changes_nothing() {
    let mut bench = Bench::new(&QueueConfig::new("q").max_delivery_count(1));
    bench.send("dead");
    let delivery = bench.lock();
    bench.abandon(&delivery);
    bench.send("deferred");
    defer(&mut bench);
    let later = Submission {
        scheduled_at_ms: Some(i64::MAX),
        ..submission_of("scheduled")
    };
    bench.submit(later).unwrap();
    bench.send("locked");
    bench.lock();
    bench.send("active");
    let before = bench.queue.counts();
    let shown = |sub_queue, from, max_messages, max_bytes| {
        let mut found = Vec::new();
        let mut browse = Some(Browse {
            place: Place::SubQueue(sub_queue),
            from,
            max_messages,
            max_bytes,
        });
        while let Some(next) = browse {
            browse = bench.queue.browse(next, &mut found);
        }
        let show = |peeked: &message::Peeked| (peeked.sequence, peeked.standing);
        found.iter().map(show).collect::<Vec<_>>()
    };
    let all = [
        (2, Standing::Deferred),
        (3, Standing::Scheduled),
        (4, Standing::Active),
        (5, Standing::Active),
    ];
    assert_eq!(shown(SubQueue::Active, 0, 9, 999), all);
    assert_eq!(shown(SubQueue::Active, 3, 2, 999), all[1..3]);
    assert_eq!(shown(SubQueue::Active, 0, 9, 1), all[..1]);
    assert_eq!(shown(SubQueue::Active, 6, 9, 999), []);
    assert_eq!(
        shown(SubQueue::DeadLetter, 0, 9, 999),
        [(1, Standing::Active)]
    );
    assert_eq!(bench.queue.counts(), before);
}

#[test]
fn browsing_past_many_others_goes_on_where_it_paused() {
    let mut bench = Bench::new(&QueueConfig::new("q").max_delivery_count(1));
    for _ in 0..10_000 {
        bench.send("a");
    }
    let last = bench.take(SubQueue::Active, 10_000).pop().unwrap();
    bench.abandon(&last);
    let mut found = Vec::new();
    let mut rounds = 0;
    let mut browse = Some(Browse {
        place: Place::SubQueue(SubQueue::DeadLetter),
        from: 1,
        max_messages: 1,
        max_bytes: 1,
    });
    while let Some(next) = browse {
        browse = bench.queue.browse(next, &mut found);
        rounds += 1;
    }
    assert_eq!((found.len(), found[0].sequence), (1, 10_000));
    assert_eq!(rounds, 3);
}
