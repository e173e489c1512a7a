//! Passing messages from one queue to another, with both in hand.

use super::*;

fn source() -> Bench {
    let config = QueueConfig::new("source")
        .forward_to("target")
        .forward_dead_letters_to("graveyard");
    Bench::new(&config)
}

fn forward(from: &mut Bench, sub_queue: SubQueue, into: &mut Bench) -> usize {
    from.queue
        .forward(from.now, sub_queue, "source", &mut into.queue)
}

fn origins(deliveries: &[Delivery]) -> Vec<Option<u64>> {
    let origin = |delivery: &Delivery| delivery.origin.as_ref().map(|origin| origin.sequence);
    deliveries.iter().map(origin).collect()
}

#[test]
fn messages_pass_in_order_with_new_numbers_and_remember_the_old() {
    let mut from = source();
    let mut to = Bench::new(&QueueConfig::new("target"));
    to.send("there before");
    for text in ["a", "b", "c"] {
        from.send(text);
    }
    assert!(from.queue.has_outbound(from.now, SubQueue::Active));
    assert!(
        from.take(SubQueue::Active, 9).is_empty(),
        "nobody receives from the source"
    );
    assert_eq!(from.counts(), (3, 0, 0));
    assert_eq!(forward(&mut from, SubQueue::Active, &mut to), 3);
    let all = to.take(SubQueue::Active, 9);
    assert_eq!(texts(&all), ["there before", "a", "b", "c"]);
    assert_eq!(origins(&all), [None, Some(1), Some(2), Some(3)]);
    assert_eq!((from.counts(), from.queue.counts().bytes), ((0, 0, 0), 0));
    assert_eq!(from.queue.next_deadline_ms(), None);
}

#[test]
fn a_full_target_keeps_messages_where_they_are_until_there_is_room() {
    let limits = Limits {
        queue_messages: 2,
        ..Limits::default()
    };
    let mut from = source();
    let mut to = Bench::with_limits(&QueueConfig::new("target"), &limits);
    for text in ["a", "b", "c", "d"] {
        from.send(text);
    }
    assert_eq!(forward(&mut from, SubQueue::Active, &mut to), 2);
    assert_eq!((from.counts(), to.counts()), ((2, 0, 0), (2, 0, 0)));
    assert!(
        !from.queue.has_outbound(from.now, SubQueue::Active),
        "it waits a little"
    );
    let again_ms = from.queue.next_deadline_ms().unwrap();
    assert!(again_ms > from.now.timestamp_millis());
    for _ in 0..2 {
        let delivery = to.lock();
        to.settle(&delivery, &Settlement::Complete).unwrap();
    }
    from.now += Duration::from_secs(1);
    assert!(from.queue.has_outbound(from.now, SubQueue::Active));
    assert_eq!(forward(&mut from, SubQueue::Active, &mut to), 2);
    assert_eq!(texts(&to.take(SubQueue::Active, 9)), ["c", "d"]);
}

#[test]
fn dead_letters_pass_on_and_say_whose_they_were() {
    let config = QueueConfig::new("source").forward_dead_letters_to("graveyard");
    let mut from = Bench::new(&config);
    let mut to = Bench::new(&QueueConfig::new("graveyard"));
    from.send("a");
    let delivery = from.lock();
    let reason = Amendments::dead_letter(Some("R"), None);
    from.settle(&delivery, &Settlement::DeadLetter(reason))
        .unwrap();
    assert_eq!(from.counts(), (0, 0, 1));
    assert_eq!(forward(&mut from, SubQueue::DeadLetter, &mut to), 1);
    assert_eq!(from.counts(), (0, 0, 0));
    let dead = to.lock();
    let origin = dead.origin.as_ref().unwrap();
    assert_eq!((origin.sequence, origin.hops), (1, 1));
    assert_eq!(origin.dead_letter_source.as_deref(), Some("source"));
    assert_eq!(dead.delivery_count, 0);
    assert!(String::from_utf8_lossy(dead.content.bare()).contains("DeadLetterReason"));
}

#[test]
fn the_fifth_hop_is_a_dead_letter_that_stays() {
    let mut queues: Vec<Bench> = (0..6).map(|_| source()).collect();
    queues[0].send("a");
    for hop in 0..5 {
        let (left, right) = queues.split_at_mut(hop + 1);
        let forwarded = forward(&mut left[hop], SubQueue::Active, &mut right[0]);
        assert_eq!(forwarded, usize::from(hop < 4), "hop {hop}");
    }
    let last = &mut queues[4];
    assert_eq!(last.counts(), (0, 0, 1));
    // Forwarding dead letters counts as well.
    let mut graveyard = Bench::new(&QueueConfig::new("graveyard"));
    assert_eq!(forward(last, SubQueue::DeadLetter, &mut graveyard), 0);
    let dead = last.lock_dead();
    let bare = String::from_utf8_lossy(dead.content.bare()).into_owned();
    assert!(bare.contains("MaxTransferHopCountExceeded"), "{bare}");
}

#[test]
fn what_a_target_can_never_take_is_a_dead_letter_of_the_source() {
    let mut from = Bench::new(&QueueConfig::new("source").forward_to("target"));
    let mut to = Bench::new(&QueueConfig::new("target").requires_session(true));
    from.send("without a session");
    assert_eq!(forward(&mut from, SubQueue::Active, &mut to), 0);
    let bare = from.lock_dead().content.bare().to_vec();
    assert!(String::from_utf8_lossy(&bare).contains("ForwardingRefused"));
}

#[test]
fn a_message_that_dies_on_the_way_is_not_forwarded() {
    let mut from = source();
    let mut to = Bench::new(&QueueConfig::new("target"));
    let mut mortal = submission_of("a");
    mortal.header.ttl_ms = Some(1_000);
    from.submit(mortal.clone()).unwrap();
    from.submit(mortal).unwrap();
    from.now += Duration::from_secs(1);
    assert_eq!(forward(&mut from, SubQueue::Active, &mut to), 0);
    from.send("b");
    assert_eq!(from.counts(), (1, 0, 0));
    from.pass(Duration::from_secs(1));
    assert_eq!(from.counts(), (1, 0, 0));
    assert_eq!(forward(&mut from, SubQueue::Active, &mut to), 1);
}
