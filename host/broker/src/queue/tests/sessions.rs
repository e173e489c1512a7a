//! Sessions: one owner at a time, strict order, and what becomes of all that when the lock ends.

use std::sync::Arc;

use super::*;

/// A queue with sessions, and receivers that are told apart by their links.
struct Hall {
    bench: Bench,
    bell: Arc<Doorbell>,
}

const SHORT: Duration = Duration::from_secs(30);

impl Hall {
    fn new() -> Self {
        Self::with(&QueueConfig::new("q"), &Limits::default())
    }

    fn with(config: &QueueConfig, limits: &Limits) -> Self {
        let config = config.clone().requires_session(true).lock_duration(SHORT);
        Self {
            bench: Bench::with_limits(&config, limits),
            bell: Arc::default(),
        }
    }

    fn send(&mut self, session: &str, text: &str) {
        self.bench.submit(of_session(session, text)).unwrap();
    }

    fn accept(&mut self, id: &str) -> Option<SessionLock> {
        let receiver = Receiver {
            bell: &self.bell,
            link: 7,
        };
        let accepted = self
            .bench
            .queue
            .accept_session(self.bench.now, id, receiver);
        accepted.ok().map(|accepted| accepted.lock)
    }

    fn next(&mut self) -> Option<(String, SessionLock)> {
        let receiver = Receiver {
            bell: &self.bell,
            link: 7,
        };
        let accepted = self
            .bench
            .queue
            .accept_next_session(self.bench.now, receiver)?;
        Some((accepted.id.to_string(), accepted.lock))
    }

    fn take(&mut self, lock: SessionLock, max_messages: usize) -> Vec<Delivery> {
        self.try_take(lock, max_messages).expect("an owned session")
    }

    fn try_take(
        &mut self,
        lock: SessionLock,
        max_messages: usize,
    ) -> Result<Vec<Delivery>, SessionLost> {
        let handout = Handout {
            sub_queue: SubQueue::Active,
            max_messages,
            max_bytes: usize::MAX,
        };
        let mut into = Vec::new();
        let queue = &mut self.bench.queue;
        queue.receive_in_session(self.bench.now, lock, handout, &mut into)?;
        Ok(into)
    }

    fn release(&mut self, lock: SessionLock) {
        self.bench.queue.release_session(self.bench.now, lock);
    }

    fn rings(&self) -> Vec<u64> {
        let mut links = Vec::new();
        self.bell.collect(&mut links);
        links
    }
}

fn of_session(session: &str, text: &str) -> Submission {
    Submission {
        session_id: Some(session.to_owned()),
        ..submission_of(text)
    }
}

fn complete() -> Settlement {
    Settlement::Complete
}

#[test]
fn a_session_has_one_owner_who_gets_its_messages_in_order_and_no_others() {
    let mut hall = Hall::new();
    for (session, text) in [("a", "1"), ("b", "2"), ("a", "3"), ("a", "4")] {
        hall.send(session, text);
    }
    let a = hall.accept("a").unwrap();
    assert_eq!(hall.accept("a"), None);
    let first = hall.take(a, 2);
    assert_eq!(texts(&first), ["1", "3"]);
    assert_eq!(texts(&hall.take(a, 9)), ["4"]);
    assert_eq!(hall.bench.counts(), (1, 3, 0));
    hall.bench.settle(&first[0], &complete()).unwrap();
    // Nobody else gets at it without the session.
    assert!(hall.bench.take(SubQueue::Active, 9).is_empty());
    let b = hall.accept("b").unwrap();
    assert_eq!(texts(&hall.take(b, 9)), ["2"]);
}

#[test]
fn an_abandoned_message_comes_before_what_follows_it() {
    let mut hall = Hall::new();
    for text in ["1", "2", "3"] {
        hall.send("a", text);
    }
    let a = hall.accept("a").unwrap();
    let first = hall.take(a, 1).pop().unwrap();
    hall.bench.abandon(&first);
    let again = hall.take(a, 9);
    assert_eq!(texts(&again), ["1", "2", "3"]);
    assert_eq!(again[0].delivery_count, 1);
}

#[test]
fn a_lock_that_ends_frees_the_session_and_counts_for_what_was_held() {
    let mut hall = Hall::new();
    hall.send("a", "held");
    hall.send("a", "waiting");
    let a = hall.accept("a").unwrap();
    let held = hall.take(a, 1).pop().unwrap();
    let until_ms = hall.bench.now.timestamp_millis() + 30_000;
    assert_eq!(held.lock.until_ms, until_ms);
    assert_eq!(hall.bench.queue.next_deadline_ms(), Some(until_ms));
    hall.bench.pass(Duration::from_millis(29_999));
    assert!(hall.rings().is_empty());
    hall.bench.pass(Duration::from_millis(1));
    assert_eq!(hall.rings(), [7], "the owner is told");
    assert_eq!(
        hall.bench.settle(&held, &complete()),
        Err(NotSettled::LockLost)
    );
    assert_eq!(hall.try_take(a, 1).unwrap_err(), SessionLost);
    assert!(hall.bench.queue.renew_session(hall.bench.now, a).is_err());
    let (id, next) = hall.next().unwrap();
    assert_eq!(id, "a");
    let both = hall.take(next, 9);
    let counts: Vec<u32> = both
        .iter()
        .map(|delivery| delivery.delivery_count)
        .collect();
    assert_eq!(
        (texts(&both), counts),
        (vec!["held".into(), "waiting".into()], vec![1, 0])
    );
}

#[test]
fn of_what_was_held_some_may_die_and_the_rest_is_still_there() {
    let config = QueueConfig::new("q").max_delivery_count(2);
    let mut hall = Hall::with(&config, &Limits::default());
    for text in ["dies", "lives"] {
        hall.send("a", text);
    }
    let a = hall.accept("a").unwrap();
    let first = hall.take(a, 1).pop().unwrap();
    hall.bench.abandon(&first);
    assert_eq!(texts(&hall.take(a, 9)), ["dies", "lives"]);
    hall.bench.pass(SHORT);
    assert_eq!(hall.bench.counts(), (1, 0, 1));
    let (_, next) = hall.next().unwrap();
    assert_eq!(texts(&hall.take(next, 9)), ["lives"]);
}

#[test]
fn a_lock_has_ended_at_its_last_instant_even_when_nobody_looked() {
    let mut hall = Hall::new();
    hall.send("a", "1");
    let a = hall.accept("a").unwrap();
    let held = hall.take(a, 1).pop().unwrap();
    hall.bench.now += SHORT;
    assert_eq!(
        hall.bench.settle(&held, &complete()),
        Err(NotSettled::LockLost)
    );
    assert!(!hall.bench.queue.holds_session(hall.bench.now, a));
    let next = hall.accept("a").unwrap();
    assert_eq!(hall.take(next, 1)[0].delivery_count, 1);
}

#[test]
fn a_session_given_back_counts_nothing() {
    let mut hall = Hall::new();
    hall.send("a", "1");
    let a = hall.accept("a").unwrap();
    let held = hall.take(a, 1).pop().unwrap();
    hall.release(a);
    assert!(hall.rings().is_empty(), "who gives back knows");
    assert_eq!(
        hall.bench.settle(&held, &complete()),
        Err(NotSettled::LockLost)
    );
    let next = hall.accept("a").unwrap();
    assert_eq!(hall.take(next, 1)[0].delivery_count, 0);
    // The old lock cannot give back what is another's.
    hall.release(a);
    assert!(hall.bench.queue.holds_session(hall.bench.now, next));
}

#[test]
fn renewing_a_session_renews_its_messages() {
    let mut hall = Hall::new();
    hall.send("a", "1");
    let a = hall.accept("a").unwrap();
    let held = hall.take(a, 1).pop().unwrap();
    for _ in 0..3 {
        hall.bench.pass(Duration::from_secs(20));
        let until_ms = hall.bench.queue.renew_session(hall.bench.now, a).unwrap();
        assert_eq!(until_ms, hall.bench.now.timestamp_millis() + 30_000);
    }
    assert!(
        hall.bench
            .queue
            .renew(hall.bench.now, held.lock.token)
            .is_err()
    );
    hall.bench.settle(&held, &complete()).unwrap();
}

#[test]
fn the_next_session_is_the_one_that_waits_longest_and_has_something() {
    let mut hall = Hall::new();
    assert!(hall.next().is_none());
    hall.accept("empty").unwrap();
    for session in ["a", "b", "c"] {
        hall.send(session, "1");
    }
    let (first, a) = hall.next().unwrap();
    let (second, _) = hall.next().unwrap();
    assert_eq!((first.as_str(), second.as_str()), ("a", "b"));
    // What is given back unfinished stands behind the others.
    hall.release(a);
    assert_eq!(hall.next().unwrap().0, "c");
    assert_eq!(hall.next().unwrap().0, "a");
    assert!(hall.next().is_none());
}

#[test]
fn who_waits_for_a_session_is_woken_once_for_each_that_becomes_free() {
    let mut hall = Hall::new();
    let wait = |hall: &mut Hall, link| {
        let bell = Arc::clone(&hall.bell);
        hall.bench
            .queue
            .wait_for_session(Receiver { bell: &bell, link })
    };
    let tickets = [1, 2].map(|link| wait(&mut hall, link));
    hall.send("a", "1");
    hall.send("a", "2");
    hall.bench.queue.wake();
    assert_eq!(hall.rings(), [1]);
    hall.bench.queue.stop_waiting_for_session(tickets[0]);
    let (_, a) = hall.next().unwrap();
    hall.bench.queue.wake();
    assert!(hall.rings().is_empty());
    hall.release(a);
    hall.bench.queue.wake();
    assert_eq!(hall.rings(), [2]);
}

#[test]
fn the_owner_is_woken_when_something_comes_and_only_if_it_waits() {
    let mut hall = Hall::new();
    let a = hall.accept("a").unwrap();
    hall.send("a", "1");
    assert!(hall.rings().is_empty());
    hall.take(a, 9);
    hall.bench.queue.wait_in_session(a, true);
    hall.send("b", "other");
    assert!(hall.rings().is_empty());
    hall.send("a", "2");
    hall.send("a", "3");
    assert_eq!(hall.rings(), [7]);
}

#[test]
fn deferring_scheduling_expiry_and_dead_letters_keep_to_the_session() {
    let config = QueueConfig::new("q").dead_letter_on_expiration(true);
    let mut hall = Hall::with(&config, &Limits::default());
    let later = Submission {
        scheduled_at_ms: Some(hall.bench.now.timestamp_millis() + 10_000),
        ..of_session("a", "later")
    };
    hall.bench.submit(later).unwrap();
    assert!(hall.next().is_none(), "nothing is ready yet");
    let mut mortal = of_session("a", "mortal");
    mortal.header.ttl_ms = Some(5_000);
    hall.bench.submit(mortal).unwrap();
    hall.send("a", "deferred");

    let a = hall.accept("a").unwrap();
    let [mortal, deferred] = hall.take(a, 9).try_into().unwrap();
    hall.bench.settle(&mortal, &Settlement::Release).unwrap();
    let defer = Settlement::Defer(Amendments::default());
    hall.bench.settle(&deferred, &defer).unwrap();
    hall.bench.pass(Duration::from_secs(10));
    assert_eq!(texts(&hall.take(a, 9)), ["later"]);
    let dead = hall.bench.lock_dead();
    assert_eq!(text(&dead), "mortal");
    hall.bench.settle(&dead, &complete()).unwrap();

    let now = hall.bench.now;
    let sequences = [deferred.sequence];
    let mut receive = |place| {
        hall.bench
            .queue
            .receive_deferred(now, place, &sequences, 999)
    };
    let outside = receive(Place::SubQueue(SubQueue::Active)).unwrap_err();
    assert_eq!(outside, NotReceived::Missing(deferred.sequence));
    let again = receive(Place::Session(a)).unwrap().pop().unwrap();
    hall.release(a);
    let now = hall.bench.now;
    let lost = hall
        .bench
        .queue
        .receive_deferred(now, Place::Session(a), &sequences, 999);
    assert_eq!(lost.unwrap_err(), NotReceived::SessionLost);
    assert!(hall.bench.settle(&again, &complete()).is_err());
    let counts = hall.bench.queue.counts();
    assert_eq!((counts.active, counts.deferred, counts.locked), (1, 1, 0));
}

#[test]
fn peeking_within_a_session_shows_all_of_it_in_order_and_nothing_else() {
    let mut hall = Hall::new();
    for text in ["1", "2", "3"] {
        hall.send("a", text);
        hall.send("b", text);
    }
    let a = hall.accept("a").unwrap();
    let first = hall.take(a, 2).remove(0);
    let defer = Settlement::Defer(Amendments::default());
    hall.bench.settle(&first, &defer).unwrap();
    let peek = |max_messages| {
        let browse = Browse {
            place: Place::Session(a),
            from: 0,
            max_messages,
            max_bytes: usize::MAX,
        };
        let mut into = Vec::new();
        assert!(hall.bench.queue.browse(browse, &mut into).is_none());
        into.iter()
            .map(|peeked| peeked.sequence)
            .collect::<Vec<_>>()
    };
    assert_eq!(peek(9), [1, 3, 5]);
    assert_eq!(peek(2), [1, 3]);
}

#[test]
fn a_state_outlives_its_setter_and_is_counted() {
    let limits = Limits {
        queue_bytes: 1_000,
        ..Limits::default()
    };
    let mut hall = Hall::with(&QueueConfig::new("q"), &limits);
    let now = hall.bench.now;
    let a = hall.accept("a").unwrap();
    assert_eq!(hall.bench.queue.session_state(now, a), Ok(None));
    hall.bench
        .queue
        .set_session_state(now, a, Some(b"step 1"))
        .unwrap();
    let cost = hall.bench.queue.counts().bytes;
    assert!(cost >= 6);
    let large = [0; 2_000];
    let refused = hall.bench.queue.set_session_state(now, a, Some(&large));
    assert_eq!(refused, Err(StateRefused::Full(QueueFull::Bytes(1_000))));
    let too_large = vec![0; MAX_STATE + 1];
    let refused = hall.bench.queue.set_session_state(now, a, Some(&too_large));
    assert_eq!(refused, Err(StateRefused::TooLarge));
    hall.release(a);
    assert_eq!(hall.bench.queue.session_state(now, a), Err(SessionLost));
    let refused = hall.bench.queue.set_session_state(now, a, None);
    assert_eq!(refused, Err(StateRefused::Lost));

    let next = hall.accept("a").unwrap();
    let state = hall.bench.queue.session_state(now, next).unwrap();
    assert_eq!(state.as_deref(), Some(&b"step 1"[..]));
    hall.bench
        .queue
        .set_session_state(now, next, Some(b""))
        .unwrap();
    assert_eq!(hall.bench.queue.counts().bytes, cost - 6);
    hall.bench.queue.set_session_state(now, next, None).unwrap();
    hall.release(next);
    assert_eq!(hall.bench.queue.counts().bytes, 0);
}

#[test]
fn sessions_are_listed_by_what_they_hold_or_by_when_their_state_was_set() {
    let mut hall = Hall::new();
    for session in ["c", "a", "b"] {
        hall.send(session, "1");
    }
    let idle = hall.accept("idle").unwrap();
    let then = hall.bench.now.timestamp_millis();
    let queue = &mut hall.bench.queue;
    queue
        .set_session_state(hall.bench.now, idle, Some(b"x"))
        .unwrap();
    let list = |updated_since_ms, skip, top| {
        let mut ids = Vec::new();
        let list = SessionList {
            updated_since_ms,
            skip,
            top,
            after: None,
        };
        assert!(hall.bench.queue.list_sessions(list, &mut ids).is_none());
        ids
    };
    assert_eq!(list(None, 0, 99), ["a", "b", "c"]);
    assert_eq!(list(None, 1, 1), ["b"]);
    assert_eq!(list(Some(then), 0, 99), ["idle"]);
    assert!(list(Some(then + 1), 0, 99).is_empty());
}

#[test]
fn a_hundred_thousand_sessions_leave_nothing_behind() {
    let mut hall = Hall::new();
    for n in 0..100_000 {
        hall.send(&n.to_string(), "x");
    }
    let mut accepted = 0;
    while let Some((id, lock)) = hall.next() {
        assert_eq!(id, accepted.to_string());
        let delivery = hall.take(lock, 9).pop().unwrap();
        hall.bench.settle(&delivery, &complete()).unwrap();
        hall.release(lock);
        accepted += 1;
    }
    assert_eq!(accepted, 100_000);
    let counts = hall.bench.queue.counts();
    assert_eq!((counts.bytes, counts.active), (0, 0));
    assert!(hall.bench.queue.sessions.is_empty());
}
