//! How long messages live.

use super::*;

fn mortal(text: &str, ttl_ms: u32) -> Submission {
    let mut submission = submission_of(text);
    submission.header.ttl_ms = Some(ttl_ms);
    submission
}

#[test]
fn the_shorter_of_both_lives_counts() {
    let mut bench = Bench::new(&QueueConfig::new("q").default_ttl(Duration::from_secs(10)));
    bench.submit(mortal("short", 1_000)).unwrap();
    bench.submit(mortal("long", 60_000)).unwrap();
    bench.pass(Duration::from_millis(999));
    assert_eq!(bench.counts(), (2, 0, 0));
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.counts(), (1, 0, 0));
    bench.pass(Duration::from_secs(9));
    assert_eq!(
        (bench.counts(), bench.queue.counts().removed),
        ((0, 0, 0), 2)
    );
}

#[test]
fn an_expired_message_is_not_handed_out_even_when_nobody_looked() {
    let mut bench = Bench::new(&QueueConfig::new("q"));
    bench.submit(mortal("a", 1_000)).unwrap();
    bench.send("b");
    bench.now += Duration::from_secs(2);
    assert_eq!(text(&bench.lock()), "b");
    assert_eq!(bench.counts(), (0, 1, 0));
}

#[test]
fn an_expired_message_is_kept_as_a_dead_letter_where_the_queue_says_so() {
    let config = QueueConfig::new("q").dead_letter_on_expiration(true);
    let mut bench = Bench::new(&config);
    bench.submit(mortal("a", 1_000)).unwrap();
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.counts(), (0, 0, 1));
    let bare = bench.lock_dead().content.bare().to_vec();
    assert!(String::from_utf8_lossy(&bare).contains("TTLExpiredException"));
}

#[test]
fn a_locked_message_lives_until_its_lock_ends() {
    let mut bench = Bench::new(&QueueConfig::new("q"));
    bench.submit(mortal("a", 1_000)).unwrap();
    let delivery = bench.lock();
    bench.pass(Duration::from_secs(30));
    assert_eq!(bench.counts(), (0, 1, 0));
    bench.settle(&delivery, &Settlement::Complete).unwrap();

    bench.submit(mortal("b", 1_000)).unwrap();
    bench.lock();
    bench.pass(Duration::from_mins(1));
    assert_eq!(bench.counts(), (0, 0, 0));
}

#[test]
fn a_million_deaths_at_one_instant_are_worked_off_in_rounds() {
    let mut bench = Bench::new(&QueueConfig::new("q").default_ttl(Duration::from_secs(1)));
    for _ in 0..20_000 {
        bench.send("x");
    }
    bench.pass(Duration::from_secs(1));
    assert!(bench.counts().0 > 0, "one round does not do it all");
    let mut rounds = 1;
    while bench.queue.next_deadline_ms().is_some() {
        bench.queue.expire(bench.now);
        rounds += 1;
        assert!(rounds < 10);
    }
    assert_eq!(bench.counts(), (0, 0, 0));
}
