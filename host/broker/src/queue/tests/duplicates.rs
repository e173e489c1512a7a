//! Duplicate detection: accepted, dropped, and forgotten after the window.

use nightshift_amqp::message::MessageId;

use super::*;

const WINDOW: Duration = Duration::from_secs(30);

fn bench() -> Bench {
    Bench::new(&QueueConfig::new("q").duplicate_detection(WINDOW))
}

fn named(id: impl Into<MessageId>, text: &str) -> Submission {
    Submission {
        message_id: Some(id.into()),
        ..submission_of(text)
    }
}

#[test]
fn the_second_message_with_an_id_is_accepted_and_dropped() {
    let mut bench = bench();
    for text in ["a", "b"] {
        bench.submit(named("1", text)).unwrap();
    }
    bench.submit(named("2", "c")).unwrap();
    let all = bench.take(SubQueue::Active, 9);
    assert_eq!(texts(&all), ["a", "c"]);
    assert_eq!(bench.queue.counts().accepted, 2);
    // It counts even when the first one has gone.
    bench.settle(&all[0], &Settlement::Complete).unwrap();
    bench.submit(named("1", "d")).unwrap();
    assert_eq!(bench.counts(), (0, 1, 0));
}

#[test]
fn an_id_is_forgotten_when_its_window_is_over_and_a_duplicate_does_not_prolong_it() {
    let mut bench = bench();
    bench.submit(named("1", "a")).unwrap();
    bench.pass(Duration::from_millis(29_999));
    bench.submit(named("1", "b")).unwrap();
    bench.pass(Duration::from_millis(1));
    bench.submit(named("1", "c")).unwrap();
    assert_eq!(texts(&bench.take(SubQueue::Active, 9)), ["a", "c"]);
}

#[test]
fn without_detection_or_without_an_id_nothing_is_a_duplicate() {
    let mut plain = Bench::new(&QueueConfig::new("q"));
    let mut detecting = bench();
    for _ in 0..2 {
        plain.submit(named("1", "a")).unwrap();
        detecting.send("a");
    }
    assert_eq!((plain.counts().0, detecting.counts().0), (2, 2));
}

#[test]
fn ids_of_different_types_are_different() {
    let mut bench = bench();
    bench.submit(named("1", "a")).unwrap();
    bench.submit(named(MessageId::Ulong(1), "b")).unwrap();
    let binary = MessageId::Binary(bytes::Bytes::from_static(b"1"));
    bench.submit(named(binary, "c")).unwrap();
    assert_eq!(bench.counts(), (3, 0, 0));
}

#[test]
fn a_scheduled_duplicate_has_the_number_of_the_first() {
    let mut bench = bench();
    let later = |text| Submission {
        scheduled_at_ms: Some(i64::MAX),
        ..named("1", text)
    };
    let numbers = bench
        .queue
        .schedule(bench.now, vec![later("a"), later("b")]);
    assert_eq!(numbers, Ok(vec![1, 1]));
    assert_eq!(bench.queue.counts().scheduled, 1);
}

#[test]
fn the_history_is_bounded_and_room_comes_with_time() {
    let limits = Limits {
        duplicate_history: 2,
        ..Limits::default()
    };
    let config = QueueConfig::new("q").duplicate_detection(WINDOW);
    let mut bench = Bench::with_limits(&config, &limits);
    bench.submit(named("1", "a")).unwrap();
    bench.submit(named("2", "b")).unwrap();
    let refused = bench.submit(named("3", "c"));
    assert_eq!(refused, Err(QueueFull::History(2)));
    bench.pass(WINDOW);
    bench.submit(named("3", "c")).unwrap();
    assert_eq!(bench.counts(), (3, 0, 0));
}
