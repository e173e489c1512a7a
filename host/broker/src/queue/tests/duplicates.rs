//! Duplicate detection: accepted, dropped, and forgotten after the window.

use nightshift_amqp::message::MessageId;

use super::*;
use crate::journal::Entry;

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

#[test]
fn no_id_outlives_the_window_when_the_clock_is_set_back() {
    let mut bench = bench();
    bench.submit(named("1", "a")).unwrap();
    bench.now -= chrono::TimeDelta::hours(1);
    // What came before the clock was set back counts as if it had come now.
    bench.submit(named("1", "b")).unwrap();
    bench.submit(named("2", "c")).unwrap();
    assert_eq!(bench.counts(), (2, 0, 0));
    bench.pass(WINDOW);
    bench.submit(named("2", "d")).unwrap();
    bench.submit(named("1", "e")).unwrap();
    assert_eq!(
        texts(&bench.take(SubQueue::Active, 9)),
        ["a", "c", "d", "e"]
    );
}

/// A queue with a window of 30 s after a restart, which remembers ids until so many seconds from
/// now.
fn restarted(ids: &[(&str, i64)]) -> Bench {
    let mut source = duplicates::History::new(WINDOW);
    let mut bench = bench();
    let mut known = Restoring::new(bench.now.timestamp_millis());
    for (sequence, (id, seconds)) in (1..).zip(ids) {
        let (hash, _) = source.remember(0, &MessageId::from(*id), sequence);
        let entry = Entry::Remembered {
            id: hash,
            sequence,
            until_ms: bench.now.timestamp_millis() + seconds * 1_000,
        };
        known.apply(entry, None).unwrap();
    }
    let settings = bench.queue.settings.clone();
    bench.queue = known.finish(settings);
    bench
}

#[test]
fn a_window_that_was_shortened_holds_for_ids_that_came_before() {
    let mut bench = restarted(&[("1", 3_600), ("2", 10)]);
    for id in ["1", "2", "3"] {
        bench.submit(named(id, id)).unwrap();
    }
    assert_eq!(texts(&bench.take(SubQueue::Active, 9)), ["3"]);
    bench.pass(Duration::from_secs(10));
    for id in ["1", "2", "3"] {
        bench.submit(named(id, id)).unwrap();
    }
    assert_eq!(texts(&bench.take(SubQueue::Active, 9)), ["2"]);
    bench.pass(Duration::from_secs(20));
    for id in ["1", "2", "3"] {
        bench.submit(named(id, id)).unwrap();
    }
    assert_eq!(texts(&bench.take(SubQueue::Active, 9)), ["1", "3"]);
}

#[test]
fn an_id_that_was_forgotten_and_came_again_is_remembered_from_then_on() {
    // The clock was set back before the restart, so that neither has ended.
    let mut bench = restarted(&[("1", 5), ("1", 20)]);
    bench.pass(Duration::from_secs(5));
    bench.submit(named("1", "a")).unwrap();
    assert_eq!(bench.counts(), (0, 0, 0));
    bench.pass(Duration::from_secs(15));
    bench.submit(named("1", "b")).unwrap();
    assert_eq!(bench.counts(), (1, 0, 0));
}
