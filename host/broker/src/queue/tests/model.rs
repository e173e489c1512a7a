//! A long random life of a queue, compared step by step with the simplest model there is.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Ready,
    Locked { until_ms: i64, deferred: bool },
    Deferred,
    Dead,
}

#[test]
fn a_random_life_agrees_with_the_model() {
    for seed in 0..20 {
        live(seed);
    }
}

fn live(seed: u64) {
    const MAX_FAILURES: u32 = 4;
    let mut dice = StdRng::seed_from_u64(seed);
    let mut bench = Bench::new(&QueueConfig::new("q").max_delivery_count(MAX_FAILURES));
    let mut model: BTreeMap<u64, (Place, u32)> = BTreeMap::new();
    let mut held: Vec<Delivery> = Vec::new();
    let mut sent = 0;
    for _ in 0..3_000 {
        match dice.random_range(0..11) {
            0..3 => {
                sent += 1;
                bench.send(&sent.to_string());
                model.insert(sent, (Place::Ready, 0));
            }
            3..6 => {
                let taken = bench.take(SubQueue::Active, dice.random_range(1..4));
                for delivery in taken {
                    let lowest = model.iter().find(|(_, (place, _))| *place == Place::Ready);
                    let (&sequence, &(_, failures)) = lowest.expect("the model has one too");
                    assert_eq!(
                        (delivery.sequence, delivery.delivery_count),
                        (sequence, failures)
                    );
                    let until_ms = delivery.lock.until_ms;
                    let deferred = false;
                    let place = Place::Locked { until_ms, deferred };
                    model.insert(sequence, (place, failures));
                    held.push(delivery);
                }
            }
            6..9 if !held.is_empty() => {
                let delivery = held.swap_remove(dice.random_range(0..held.len()));
                settle_one(
                    &mut bench,
                    &mut model,
                    &delivery,
                    dice.random_range(0..5),
                    MAX_FAILURES,
                );
            }
            9 => {
                let mut all = model.iter();
                let deferred = all.find(|(_, (place, _))| *place == Place::Deferred);
                let Some((&sequence, &(_, failures))) = deferred else {
                    continue;
                };
                let (now, wanted) = (bench.now, [sequence]);
                let received = bench.queue.receive_deferred(
                    now,
                    crate::queue::Place::SubQueue(SubQueue::Active),
                    &wanted,
                    usize::MAX,
                );
                let delivery = received.unwrap().pop().unwrap();
                assert_eq!(delivery.delivery_count, failures);
                let (until_ms, deferred) = (delivery.lock.until_ms, true);
                model.insert(sequence, (Place::Locked { until_ms, deferred }, failures));
                held.push(delivery);
            }
            _ => {
                bench.pass(Duration::from_secs(dice.random_range(0..25)));
                let now_ms = bench.now.timestamp_millis();
                for (place, failures) in model.values_mut() {
                    if let Place::Locked { until_ms, deferred } = *place
                        && until_ms <= now_ms
                    {
                        *failures += 1;
                        let dead = *failures >= MAX_FAILURES;
                        *place = if dead { Place::Dead } else { back(deferred) };
                    }
                }
            }
        }
        let count = |wanted: fn(&Place) -> bool| model.values().filter(|(p, _)| wanted(p)).count();
        let expected = (
            count(|place| *place == Place::Ready),
            count(|place| matches!(place, Place::Locked { .. })),
            count(|place| *place == Place::Dead),
        );
        assert_eq!(bench.counts(), expected, "seed {seed}");
        let deferred = count(|place| *place == Place::Deferred);
        assert_eq!(bench.queue.counts().deferred, deferred, "seed {seed}");
    }
}

/// Where a message goes when its lock ends.
fn back(deferred: bool) -> Place {
    if deferred {
        Place::Deferred
    } else {
        Place::Ready
    }
}

fn settle_one(
    bench: &mut Bench,
    model: &mut BTreeMap<u64, (Place, u32)>,
    delivery: &Delivery,
    how: u32,
    max_failures: u32,
) {
    let lock = delivery.lock;
    let settlement = match how {
        0 => Settlement::Complete,
        1 => Settlement::Abandon(Amendments::default()),
        2 => Settlement::Release,
        3 => Settlement::Defer(Amendments::default()),
        _ => Settlement::DeadLetter(Amendments::default()),
    };
    let settled = bench.settle(delivery, &settlement);
    if lock.until_ms <= bench.now.timestamp_millis() {
        assert_eq!(settled, Err(NotSettled::LockLost));
        return;
    }
    settled.unwrap();
    let (place, failures) = model[&delivery.sequence];
    let Place::Locked { deferred, .. } = place else {
        panic!("{place:?} was settled")
    };
    let place = match how {
        0 => {
            model.remove(&delivery.sequence);
            return;
        }
        1 if failures + 1 >= max_failures => (Place::Dead, failures + 1),
        1 => (back(deferred), failures + 1),
        2 => (back(deferred), failures),
        3 => (Place::Deferred, failures + 1),
        _ => (Place::Dead, failures),
    };
    model.insert(delivery.sequence, place);
}
