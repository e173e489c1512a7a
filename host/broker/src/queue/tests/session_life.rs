//! A long random life of a queue with sessions, compared step by step with a simple model.

use std::{collections::BTreeMap, sync::Arc};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

const SESSIONS: u64 = 4;
const MAX_FAILURES: u32 = 3;
const LOCK: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spot {
    Ready,
    Held,
    Deferred,
    Dead,
}

/// A message of the model: its session, where it is, and how often it failed.
#[derive(Debug, Clone, Copy)]
struct Known {
    session: u64,
    spot: Spot,
    failures: u32,
    was_deferred: bool,
}

#[derive(Debug, Clone, Copy)]
struct Owned {
    lock: SessionLock,
    until_ms: i64,
}

struct Life {
    bench: Bench,
    dice: StdRng,
    messages: BTreeMap<u64, Known>,
    owners: BTreeMap<u64, Owned>,
    held: Vec<(u64, Delivery)>,
    bell: Arc<Doorbell>,
    /// How many messages may be ready or held: with few, sessions come and go.
    most: usize,
}

#[test]
fn a_random_life_with_sessions_agrees_with_the_model() {
    for seed in 0..8 {
        let config = QueueConfig::new("q")
            .requires_session(true)
            .lock_duration(LOCK)
            .max_delivery_count(MAX_FAILURES);
        let mut life = Life {
            bench: Bench::new(&config),
            dice: StdRng::seed_from_u64(seed),
            messages: BTreeMap::new(),
            owners: BTreeMap::new(),
            held: Vec::new(),
            bell: Arc::default(),
            most: if seed % 2 == 0 { 5 } else { 500 },
        };
        for _ in 0..1_500 {
            life.step();
            life.compare(seed);
        }
    }
}

impl Life {
    fn now_ms(&self) -> i64 {
        self.bench.now.timestamp_millis()
    }

    fn step(&mut self) {
        let session = self.dice.random_range(0..SESSIONS);
        match self.dice.random_range(0..12) {
            0..4 => self.send(session),
            4 => self.accept_named(session),
            5 => self.accept_next(),
            6..8 => self.receive(session),
            8..10 => self.settle(),
            10 => self.renew_or_release(session),
            _ => self.pass(),
        }
    }

    fn send(&mut self, session: u64) {
        let counts = self.bench.queue.counts();
        if counts.active + counts.locked >= self.most {
            return;
        }
        let submission = Submission {
            session_id: Some(session.to_string()),
            ..submission_of("x")
        };
        self.bench.submit(submission).unwrap();
        let sequence = u64::try_from(self.messages.len()).unwrap() + self.completed() + 1;
        let known = Known {
            session,
            spot: Spot::Ready,
            failures: 0,
            was_deferred: false,
        };
        self.messages.insert(sequence, known);
    }

    fn completed(&self) -> u64 {
        self.bench.queue.counts().removed
    }

    fn accept_named(&mut self, session: u64) {
        let bell = Arc::clone(&self.bell);
        let receiver = Receiver {
            bell: &bell,
            link: 1,
        };
        let id = session.to_string();
        let accepted = self
            .bench
            .queue
            .accept_session(self.bench.now, &id, receiver);
        assert_eq!(accepted.is_err(), self.owners.contains_key(&session));
        if let Ok(accepted) = accepted {
            self.own(session, &accepted);
        }
    }

    fn accept_next(&mut self) {
        let bell = Arc::clone(&self.bell);
        let receiver = Receiver {
            bell: &bell,
            link: 1,
        };
        let accepted = self
            .bench
            .queue
            .accept_next_session(self.bench.now, receiver);
        let free = |session: &u64| !self.owners.contains_key(session) && self.has_ready(*session);
        let any = (0..SESSIONS).any(|session| free(&session));
        assert_eq!(accepted.is_some(), any);
        if let Some(accepted) = accepted {
            let session: u64 = accepted.id.parse().unwrap();
            assert!(free(&session));
            self.own(session, &accepted);
        }
    }

    fn own(&mut self, session: u64, accepted: &Accepted) {
        let owned = Owned {
            lock: accepted.lock,
            until_ms: accepted.until_ms,
        };
        self.owners.insert(session, owned);
    }

    fn has_ready(&self, session: u64) -> bool {
        let mut messages = self.messages.values();
        messages.any(|known| known.session == session && known.spot == Spot::Ready)
    }

    fn receive(&mut self, session: u64) {
        let Some(owned) = self.owners.get(&session).copied() else {
            return;
        };
        let handout = Handout {
            sub_queue: SubQueue::Active,
            max_messages: self.dice.random_range(1..4),
            max_bytes: usize::MAX,
        };
        let mut into = Vec::new();
        let now = self.bench.now;
        let queue = &mut self.bench.queue;
        queue
            .receive_in_session(now, owned.lock, handout, &mut into)
            .unwrap();
        for delivery in into {
            let mut mine = self.messages.iter_mut();
            let next =
                mine.find(|(_, known)| known.session == session && known.spot == Spot::Ready);
            let (sequence, known) = next.expect("the model has one too");
            assert_eq!(
                (delivery.sequence, delivery.delivery_count),
                (*sequence, known.failures)
            );
            known.spot = Spot::Held;
            self.held.push((session, delivery));
        }
    }

    fn settle(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let (_, delivery) = self
            .held
            .swap_remove(self.dice.random_range(0..self.held.len()));
        let how = self.dice.random_range(0..5);
        let settlement = match how {
            0 => Settlement::Complete,
            1 => Settlement::Abandon(Amendments::default()),
            2 => Settlement::Release,
            3 => Settlement::Defer(Amendments::default()),
            _ => Settlement::DeadLetter(Amendments::default()),
        };
        self.bench.settle(&delivery, &settlement).unwrap();
        let Some(known) = self.messages.get_mut(&delivery.sequence) else {
            panic!("the model does not know {}", delivery.sequence)
        };
        assert_eq!(known.spot, Spot::Held);
        match how {
            0 => drop(self.messages.remove(&delivery.sequence)),
            1 => known.fail(),
            2 => known.spot = known.back(),
            3 => {
                known.failures += 1;
                (known.spot, known.was_deferred) = (Spot::Deferred, true);
            }
            _ => known.spot = Spot::Dead,
        }
    }

    fn renew_or_release(&mut self, session: u64) {
        let Some(owned) = self.owners.get_mut(&session) else {
            return;
        };
        if self.dice.random_bool(0.5) {
            let renewed = self.bench.queue.renew_session(self.bench.now, owned.lock);
            owned.until_ms = renewed.unwrap();
            return;
        }
        self.bench.queue.release_session(self.bench.now, owned.lock);
        self.owners.remove(&session);
        self.let_go(session, false);
    }

    fn pass(&mut self) {
        self.bench
            .pass(Duration::from_secs(self.dice.random_range(0..20)));
        let now_ms = self.now_ms();
        let over: Vec<u64> = self
            .owners
            .iter()
            .filter(|(_, owned)| owned.until_ms <= now_ms)
            .map(|(session, _)| *session)
            .collect();
        for session in over {
            self.owners.remove(&session);
            self.let_go(session, true);
        }
    }

    /// What the owner of a session held is available again, or dead.
    fn let_go(&mut self, session: u64, failed: bool) {
        for known in self.messages.values_mut() {
            if known.session == session && known.spot == Spot::Held {
                if failed {
                    known.fail();
                } else {
                    known.spot = known.back();
                }
            }
        }
        let (lost, kept): (Vec<_>, _) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|(of, _)| *of == session);
        self.held = kept;
        for (_, delivery) in lost {
            let late = self.bench.settle(&delivery, &Settlement::Complete);
            assert_eq!(late, Err(NotSettled::LockLost));
        }
    }

    fn compare(&self, seed: u64) {
        let count = |spot| {
            self.messages
                .values()
                .filter(|known| known.spot == spot)
                .count()
        };
        let expected = [Spot::Ready, Spot::Held, Spot::Deferred, Spot::Dead].map(count);
        let counts = self.bench.queue.counts();
        let real = [
            counts.active,
            counts.locked,
            counts.deferred,
            counts.dead_letter,
        ];
        assert_eq!(real, expected, "seed {seed}");
    }
}

impl Known {
    fn back(&self) -> Spot {
        if self.was_deferred {
            Spot::Deferred
        } else {
            Spot::Ready
        }
    }

    fn fail(&mut self) {
        self.failures += 1;
        self.spot = if self.failures >= MAX_FAILURES {
            Spot::Dead
        } else {
            self.back()
        };
    }
}
