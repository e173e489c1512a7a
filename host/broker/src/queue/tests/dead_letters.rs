//! How messages become dead letters, and how dead letters behave.

use super::*;

#[test]
fn the_last_allowed_failure_makes_a_dead_letter() {
    let mut bench = Bench::new(&QueueConfig::new("q").max_delivery_count(3));
    bench.send("a");
    let delivery = bench.lock();
    bench.abandon(&delivery);
    bench.lock();
    bench.pass(Duration::from_mins(1));
    let delivery = bench.lock();
    assert_eq!(delivery.delivery_count, 2);
    bench.abandon(&delivery);
    assert_eq!(bench.counts(), (0, 0, 1));
    let dead = bench.lock_dead();
    assert_eq!((dead.delivery_count, dead.sequence), (3, 1));
    let bare = String::from_utf8_lossy(dead.content.bare()).into_owned();
    assert!(bare.contains("DeadLetterReason") && bare.contains("MaxDeliveryCountExceeded"));
    assert!(bare.contains("after 3 delivery attempts"), "{bare}");
    assert_eq!(text(&dead), "a");
}

#[test]
fn a_dead_letter_may_fail_for_ever_and_never_expires() {
    let config = QueueConfig::new("q")
        .max_delivery_count(1)
        .default_ttl(Duration::from_secs(90));
    let mut bench = Bench::new(&config);
    bench.send("a");
    let delivery = bench.lock();
    bench.abandon(&delivery);
    for _ in 0..20 {
        bench.pass(Duration::from_hours(1));
        let dead = bench.lock_dead();
        bench.abandon(&dead);
    }
    let dead = bench.lock_dead();
    bench
        .settle(&dead, &Settlement::DeadLetter(Amendments::default()))
        .unwrap();
    let dead = bench.lock_dead();
    bench.settle(&dead, &Settlement::Complete).unwrap();
    assert_eq!((bench.counts(), bench.queue.counts().bytes), ((0, 0, 0), 0));
}

#[test]
fn a_reason_given_by_hand_is_a_property_of_the_dead_letter() {
    let mut bench = Bench::new(&QueueConfig::new("q"));
    bench.send("a");
    let delivery = bench.lock();
    let amendments = Amendments::dead_letter(Some("BadInput"), None);
    bench
        .settle(&delivery, &Settlement::DeadLetter(amendments))
        .unwrap();
    let dead = bench.lock_dead();
    let bare = String::from_utf8_lossy(dead.content.bare()).into_owned();
    assert!(
        bare.contains("BadInput") && !bare.contains("DeadLetterErrorDescription"),
        "{bare}"
    );
    let cost = dead.content.len() + message::OVERHEAD_BYTES;
    assert_eq!(bench.queue.counts().bytes, cost);
}
