//! Evidence that is forged, and what is seen in it.

use super::*;

/// The milliseconds of an account.
fn at(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_763_776_800_000 + ms).unwrap()
}

fn order(n: usize) -> Order {
    Order {
        is_followed: false,
        ..Order::nth("t", n)
    }
}

fn tried(order: &Order, attempt: u32, ms: i64) -> Try {
    let id = order.id.clone();
    Try {
        id,
        key: order.key(),
        attempt,
        at: at(ms),
    }
}

fn wait(order: &Order, attempt: u32, written: i64, due: i64) -> Wait {
    Wait {
        key: order.key(),
        attempt,
        is_snooze: attempt == 0,
        due: at(due),
        written: at(written),
    }
}

fn dead(order: &Order, reason: &str) -> Dead {
    Dead {
        id: order.id.clone(),
        key: order.key(),
        reason: reason.to_owned(),
    }
}

/// One that succeeds, one that fails once, one that is busy once, one that dies.
fn fine() -> Evidence {
    let orders: Vec<Order> = [1, 0, 40, 50].map(order).into();
    let [plain, failing, busy, refused] = &orders[..] else {
        panic!("four");
    };
    Evidence {
        effects: [(plain, 1), (failing, 2), (busy, 2)]
            .map(|(order, attempt)| (order.id.clone(), attempt))
            .into(),
        tries: vec![
            tried(plain, 1, 0),
            tried(failing, 1, 0),
            tried(failing, 2, 150),
            tried(busy, 1, 0),
            tried(busy, 2, 1_020),
            tried(refused, 1, 0),
        ],
        waits: vec![wait(failing, 1, 5, 120), wait(busy, 1, 5, 1_002)],
        claims: orders.iter().map(Order::key).collect(),
        dead: vec![dead(refused, "as-ordered")],
        open: Vec::new(),
        ordered: Ordered {
            orders,
            ..Ordered::default()
        },
        ..Evidence::default()
    }
}

/// What is found when the fine evidence is changed so.
fn found(change: impl FnOnce(&mut Evidence)) -> Vec<(Fault, usize)> {
    let mut evidence = fine();
    change(&mut evidence);
    let report = evidence.check();
    let faults = report.faults.iter();
    faults.map(|(fault, found)| (*fault, found.len())).collect()
}

#[test]
fn what_is_fine_is_clean() {
    let report = fine().check();
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.messages, report.waits), (4, 2));
}

#[test]
fn an_effect_that_is_missing_is_lost() {
    assert_eq!(found(|e| drop(e.effects.remove(0))), [(Fault::Lost, 1)]);
}

#[test]
fn an_effect_that_is_there_twice_is_doubled() {
    let twice = |e: &mut Evidence| e.effects.push(e.effects[0].clone());
    assert_eq!(found(twice), [(Fault::Doubled, 1)]);
}

#[test]
fn a_message_that_was_promised_is_ordered_too() {
    let next = Order {
        is_followed: true,
        ..order(1)
    };
    let next = next.follow_up().unwrap();
    let promise = |e: &mut Evidence| e.ordered.orders[0].is_followed = true;
    assert_eq!(found(promise), [(Fault::Lost, 1)]);
    let sent_twice = |e: &mut Evidence| {
        promise(e);
        for id in ["once", "twice"] {
            let key = JobKey::of_message_id("f", id);
            e.tries.push(Try {
                key,
                ..tried(&next, 1, 9)
            });
            e.claims.push(key);
            e.effects.push((next.id.clone(), 1));
        }
    };
    let faults = [(Fault::Doubled, 1), (Fault::Unclaimed, 1)];
    assert_eq!(found(sent_twice), faults);
}

#[test]
fn an_effect_that_nobody_ordered_is_too_many() {
    let stranger = |e: &mut Evidence| e.effects.push(("stranger".to_owned(), 1));
    assert_eq!(found(stranger), [(Fault::LeftOver, 1)]);
}

#[test]
fn death_must_be_as_ordered() {
    let dies = |e: &mut Evidence| {
        e.effects.remove(0);
        e.dead.push(dead(&e.ordered.orders[0], "unknown"));
    };
    assert_eq!(found(dies), [(Fault::WrongEnd, 1)]);
    let also_lives = |e: &mut Evidence| e.dead.push(dead(&e.ordered.orders[0], KILLER));
    assert_eq!(found(also_lives), [(Fault::WrongEnd, 1)]);
    let lives = |e: &mut Evidence| {
        e.effects.push((e.ordered.orders[3].id.clone(), 2));
        e.dead.clear();
    };
    assert_eq!(found(lives), [(Fault::WrongEnd, 1)]);
    assert_eq!(found(|e| e.dead.clear()), [(Fault::Lost, 1)]);
}

#[test]
fn one_that_is_taken_for_a_killer_is_counted_and_not_waited_for() {
    let mut evidence = fine();
    evidence.ordered.orders[0].is_followed = true;
    evidence.effects.remove(0);
    evidence
        .dead
        .push(dead(&evidence.ordered.orders[0], KILLER));
    let report = evidence.check();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.suspects, 1);
}

#[test]
fn each_order_has_one_claim() {
    assert_eq!(found(|e| e.claims.truncate(3)), [(Fault::Unclaimed, 1)]);
    let twice = |e: &mut Evidence| e.claims.push(e.claims[0]);
    assert_eq!(found(twice), [(Fault::Unclaimed, 1)]);
}

#[test]
fn a_crash_counts_as_no_failure() {
    let counted = |e: &mut Evidence| e.effects[0].1 = 2;
    assert_eq!(found(counted), [(Fault::Miscounted, 1)]);
}

#[test]
fn a_try_before_the_end_of_the_pause_is_early() {
    let soon = |e: &mut Evidence| e.tries[2].at = at(118);
    assert_eq!(found(soon), [(Fault::Early, 1)]);
    let by_the_grain = |e: &mut Evidence| e.tries[2].at = at(119);
    assert_eq!(found(by_the_grain), []);
}

#[test]
fn a_try_long_after_the_end_of_the_pause_is_late() {
    let at_last = |e: &mut Evidence| e.tries[2].at = at(100_121);
    assert_eq!(found(at_last), [(Fault::Late, 1)]);
}

#[test]
fn a_pause_is_what_its_failure_asks_for() {
    let too_long = |e: &mut Evidence| {
        e.waits[0].due = at(206);
        e.tries[2].at = at(300);
    };
    assert_eq!(found(too_long), [(Fault::WrongPause, 1)]);
    let too_short = |e: &mut Evidence| e.waits[1].due = at(999);
    assert_eq!(found(too_short), [(Fault::WrongPause, 1)]);
    let for_nothing = |e: &mut Evidence| {
        let wait = wait(&e.ordered.orders[0], 1, 5, 6);
        e.waits.push(wait);
    };
    assert_eq!(found(for_nothing), [(Fault::WrongPause, 1)]);
}

#[test]
fn what_is_still_somewhere_is_left_over() {
    let waits = |e: &mut Evidence| e.open.push(e.ordered.orders[0].key());
    assert_eq!(found(waits), [(Fault::LeftOver, 1)]);
    let is_queued = |e: &mut Evidence| e.left.push("a message in the queue".to_owned());
    assert_eq!(found(is_queued), [(Fault::LeftOver, 1)]);
}

#[test]
fn a_report_tells_the_life_of_what_went_wrong() {
    let mut evidence = fine();
    evidence
        .effects
        .push((evidence.ordered.orders[1].id.clone(), 2));
    let text = evidence.check().to_string();
    assert_eq!(
        text,
        "4 messages, 2 waits, 0 suspects, 0 in sessions, 0 calls (0 uncertain), 0 runs (0 taken over), 0 ticks\nDoubled: 1\n  t-000000 has 2 effects: tried at [02:00:00.000, \
         02:00:00.150], at 02:00:00.005 put off to 02:00:00.120 after 1 failures, effects by the \
         tries [2, 2], claims 1, dead None, waiting false"
    );
}

#[test]
fn what_ends_its_processes_is_to_be_dead_in_time() {
    let killer = Order::killer("t", 2, Mishap::Abort);
    let with_killer = |runs: i64, reason: Option<&str>| {
        found(|e| {
            e.ordered.orders.push(killer.clone());
            e.claims.push(killer.key());
            e.tries.extend((0..runs).map(|ms| tried(&killer, 1, ms)));
            e.dead.extend(reason.map(|reason| dead(&killer, reason)));
        })
    };
    assert_eq!(with_killer(6, Some(KILLER)), []);
    assert_eq!(with_killer(7, Some(KILLER)), [(Fault::Miscounted, 1)]);
    assert_eq!(with_killer(6, Some("as-ordered")), [(Fault::WrongEnd, 1)]);
    assert_eq!(with_killer(6, None), [(Fault::Lost, 1)]);
}
