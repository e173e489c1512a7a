//! Who gets what first.

use super::*;

#[test]
fn messages_come_in_order_and_a_returned_one_comes_first() {
    let mut bench = Bench::new(&QueueConfig::new("q"));
    for name in ["a", "b", "c", "d"] {
        bench.send(name);
    }
    let held = bench.take(SubQueue::Active, 2);
    assert_eq!(texts(&held), ["a", "b"]);
    bench.abandon(&held[1]);
    bench.abandon(&held[0]);
    let all = bench.take(SubQueue::Active, 9);
    assert_eq!(texts(&all), ["a", "b", "c", "d"]);
    let numbers: Vec<u64> = all.iter().map(|delivery| delivery.sequence).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

#[test]
fn a_handout_keeps_to_its_bounds_but_always_gives_one() {
    let mut bench = Bench::new(&QueueConfig::new("q"));
    for _ in 0..10 {
        bench.send("12345");
    }
    let size = submission_of("12345").content.len();
    let mut into = Vec::new();
    let sub_queue = SubQueue::Active;
    let mut handout = Handout {
        sub_queue,
        max_messages: 9,
        max_bytes: 2 * size,
    };
    assert!(bench.queue.receive(bench.now, handout, &mut into));
    assert_eq!(into.len(), 2);
    handout.max_bytes = 1;
    assert!(bench.queue.receive(bench.now, handout, &mut into));
    assert_eq!(into.len(), 3);
    handout.max_bytes = usize::MAX;
    assert!(!bench.queue.receive(bench.now, handout, &mut into));
    assert_eq!(into.len(), 10);
}

#[test]
fn waiting_receivers_are_woken_by_sends_by_ended_locks_and_by_dead_letters() {
    let mut bench = Bench::new(&QueueConfig::new("q"));
    let bell = std::sync::Arc::<Doorbell>::default();
    let rung = |bell: &Doorbell| {
        let mut links = Vec::new();
        bell.collect(&mut links);
        links
    };
    let first = bench.queue.wait(SubQueue::Active, &bell, 1, 5);
    bench.queue.wait(SubQueue::DeadLetter, &bell, 2, 5);
    bench.send("a");
    bench.queue.wake();
    assert_eq!(rung(&bell), [1]);
    bench.queue.leave(SubQueue::Active, first);
    let delivery = bench.lock();
    bench.queue.wait(SubQueue::Active, &bell, 1, 5);
    bench.queue.wake();
    assert_eq!(rung(&bell), [0; 0]);
    bench.pass(Duration::from_mins(1));
    bench.queue.wake();
    assert_eq!(rung(&bell), [1]);
    assert!(bench.settle(&delivery, &Settlement::Complete).is_err());
    let delivery = bench.lock();
    bench
        .settle(&delivery, &Settlement::DeadLetter(Amendments::default()))
        .unwrap();
    bench.queue.wake();
    assert_eq!(rung(&bell), [2]);
}
