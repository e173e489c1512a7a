//! Scheduled messages: when they come, in which order, and how they are cancelled.

use super::*;

fn at(bench: &Bench, seconds: i64, text: &str) -> Submission {
    Submission {
        scheduled_at_ms: Some(bench.now.timestamp_millis() + seconds * 1_000),
        ..submission_of(text)
    }
}

fn schedule(bench: &mut Bench, seconds: i64, text: &str) -> u64 {
    let submission = at(bench, seconds, text);
    bench.queue.schedule(bench.now, vec![submission]).unwrap()[0]
}

#[test]
fn a_scheduled_message_comes_at_its_time_behind_what_was_there() {
    let mut bench = Bench::new(&QueueConfig::new("q"));
    assert_eq!(schedule(&mut bench, 10, "later"), 1);
    bench.submit(at(&bench, 5, "soon")).unwrap();
    bench.send("now");
    assert_eq!(bench.queue.counts().scheduled, 2);
    assert_eq!(bench.counts(), (1, 0, 0));
    bench.pass(Duration::from_millis(4_999));
    assert_eq!(bench.counts(), (1, 0, 0));
    bench.pass(Duration::from_secs(6));
    let all = bench.take(SubQueue::Active, 9);
    assert_eq!(texts(&all), ["now", "soon", "later"]);
    let numbers: Vec<u64> = all.iter().map(|delivery| delivery.sequence).collect();
    assert_eq!(numbers, [3, 4, 5]);
    assert_eq!(all[2].enqueued_at_ms, bench.now.timestamp_millis());
    let counts = bench.queue.counts();
    assert_eq!((counts.accepted, counts.removed), (3, 0));
}

#[test]
fn time_that_has_come_is_now() {
    let mut bench = Bench::new(&QueueConfig::new("q"));
    schedule(&mut bench, 0, "a");
    schedule(&mut bench, -5, "b");
    assert_eq!(texts(&bench.take(SubQueue::Active, 9)), ["a", "b"]);
}

#[test]
fn the_alarm_is_set_for_the_soonest() {
    let mut bench = Bench::new(&QueueConfig::new("q"));
    schedule(&mut bench, 10, "later");
    schedule(&mut bench, 5, "soon");
    let soonest = bench.now.timestamp_millis() + 5_000;
    assert_eq!(bench.queue.next_deadline_ms(), Some(soonest));
}

#[test]
fn a_life_starts_when_the_message_becomes_available() {
    let config = QueueConfig::new("q").default_ttl(Duration::from_secs(2));
    let mut bench = Bench::new(&config);
    schedule(&mut bench, 10, "a");
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.counts(), (1, 0, 0));
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.counts(), (0, 0, 0));
}

#[test]
fn cancelling_takes_all_or_none_and_only_what_is_scheduled() {
    let mut bench = Bench::new(&QueueConfig::new("q"));
    bench.send("active");
    let [one, two] = ["a", "b"].map(|text| schedule(&mut bench, 10, text));
    for missing in [1, 99, 0, u64::MAX] {
        let refused = bench.queue.cancel(bench.now, &[one, missing]);
        assert_eq!(refused.unwrap_err().sequence, missing);
    }
    assert_eq!(bench.queue.counts().scheduled, 2);
    bench.queue.cancel(bench.now, &[one]).unwrap();
    assert_eq!(
        bench.queue.cancel(bench.now, &[one]).unwrap_err().sequence,
        one
    );
    bench.pass(Duration::from_secs(10));
    assert_eq!(texts(&bench.take(SubQueue::Active, 9)), ["active", "b"]);
    // It has gone, under this number, at the instant it became available.
    assert!(bench.queue.cancel(bench.now, &[two]).is_err());
}

#[test]
fn a_full_queue_schedules_nothing() {
    let limits = Limits {
        queue_messages: 1,
        ..Limits::default()
    };
    let mut bench = Bench::with_limits(&QueueConfig::new("q"), &limits);
    let two = vec![at(&bench, 5, "a"), at(&bench, 5, "b")];
    let refused = bench.queue.schedule(bench.now, two);
    assert_eq!(refused, Err(QueueFull::Messages(1)));
    assert_eq!(bench.queue.counts(), QueueCounts::default());
}

#[test]
fn cancelled_messages_leave_nothing_behind() {
    let mut bench = Bench::new(&QueueConfig::new("q"));
    for _ in 0..10_000 {
        let sequence = schedule(&mut bench, 3_600, "a");
        bench.queue.cancel(bench.now, &[sequence]).unwrap();
    }
    assert_eq!(bench.queue.counts().bytes, 0);
    bench.pass(Duration::from_hours(2));
    assert_eq!(bench.counts(), (0, 0, 0));
}
