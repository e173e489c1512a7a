//! What a queue refuses to hold, and what it lets go of.

use super::*;

#[test]
fn a_full_queue_takes_nothing_of_a_batch() {
    let limits = Limits {
        queue_messages: 3,
        ..Limits::default()
    };
    let mut bench = Bench::with_limits(&QueueConfig::new("q"), &limits);
    bench.send("a");
    bench.send("b");
    let two = [submission_of("c"), submission_of("d")];
    let refused = bench.queue.enqueue(bench.now, 2, 0, two.iter().cloned());
    assert_eq!(refused, Err(QueueFull::Messages(3)));
    assert_eq!(bench.counts(), (2, 0, 0));
    bench.send("c");
    assert_eq!(
        bench.submit(submission_of("d")),
        Err(QueueFull::Messages(3))
    );
    let delivery = bench.lock();
    bench.settle(&delivery, &Settlement::Complete).unwrap();
    bench.send("d");
}

#[test]
fn bytes_are_bounded_too() {
    let cost = submission_of("12345").cost();
    let limits = Limits {
        queue_bytes: 2 * cost,
        ..Limits::default()
    };
    let mut bench = Bench::with_limits(&QueueConfig::new("q"), &limits);
    bench.send("12345");
    bench.send("12345");
    assert_eq!(
        bench.submit(submission_of("1")),
        Err(QueueFull::Bytes(2 * cost))
    );
}

#[test]
fn a_queue_that_ran_empty_keeps_no_trace_of_what_went_through() {
    let mut bench = Bench::new(&QueueConfig::new("q"));
    for round in 0..200 {
        for _ in 0..500 {
            bench.send("x");
        }
        for delivery in bench.take(SubQueue::Active, 500) {
            bench.settle(&delivery, &Settlement::Complete).unwrap();
        }
        assert_eq!(bench.queue.counts().bytes, 0, "round {round}");
    }
    // The ends of the locks are still ahead, but almost nothing is kept of them.
    let mut left = 0;
    while bench.queue.locks.pop_due(i64::MAX).is_some() {
        left += 1;
    }
    assert!(left < 2_000, "{left} dead deadlines are kept");
}
