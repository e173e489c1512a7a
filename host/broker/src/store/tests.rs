//! Random lives of three queues over a disk that fails: whatever comes back is exactly what there
//! was at the position where the journal ends.

mod told;

use std::{cell::RefCell, collections::HashMap, time::Duration};

use bytes::BytesMut;
use chrono::{DateTime, Utc};
use nightshift_amqp::{
    Encode,
    message::{Body, Message, Properties},
};
use nightshift_time::{Clock, SharedClock, TestClock};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    config::{BrokerConfig, QueueConfig},
    journal::{Disk, seeds},
    queue::{
        Amendments, Delivery, Doorbell, Handout, KeptHeader, LockToken, NotSettled, Place,
        QueueCounts, Receiver, SessionLock, Settlement, SubQueue, Submission, read_submissions,
    },
};

const NAMES: [&str; 5] = ["Plain", "strict", "sessions", "entry", "graves"];

fn config() -> BrokerConfig {
    let lock = Duration::from_secs(30);
    BrokerConfig::new([
        QueueConfig::new(NAMES[0]).lock_duration(lock),
        QueueConfig::new(NAMES[1])
            .lock_duration(lock)
            .max_delivery_count(2)
            .default_ttl(Duration::from_secs(100))
            .dead_letter_on_expiration(true)
            .duplicate_detection(Duration::from_mins(1))
            .forward_dead_letters_to("graves"),
        QueueConfig::new(NAMES[2])
            .lock_duration(lock)
            .requires_session(true),
        QueueConfig::new(NAMES[3]).forward_to("plain"),
        QueueConfig::new(NAMES[4]).lock_duration(lock),
    ])
}

/// The queues and their journal, and what time it is.
struct World {
    journal: Arc<Journal>,
    namespace: Arc<Namespace>,
    clock: TestClock,
    past: RefCell<Past>,
}

/// What the queues held, as checkpoints tell it.
type Picture = [Vec<u8>; NAMES.len()];

/// What there was at every position of the journal.
#[derive(Default)]
struct Past {
    pictures: HashMap<u64, Picture>,
    /// When the journal failed in the very moment in which something was appended, nobody knows
    /// at which position that was.
    last: Option<Picture>,
}

impl World {
    fn open(disk: &Disk, now: DateTime<Utc>) -> Result<Self, JournalError> {
        Self::open_as(&config(), disk, now)
    }

    fn open_as(
        config: &BrokerConfig,
        disk: &Disk,
        now: DateTime<Utc>,
    ) -> Result<Self, JournalError> {
        let restored = Restored::read(Arc::new(disk.clone()), now.timestamp_millis())?;
        let clock = TestClock::new(now);
        let shared: SharedClock = Arc::new(clock.clone());
        Ok(Self {
            journal: Arc::clone(restored.journal()),
            namespace: Arc::new(Namespace::new(config, &shared, Some(restored)).unwrap()),
            clock,
            past: RefCell::default(),
        })
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    fn entity(&self, queue: usize) -> &Entity {
        self.namespace.get(&NAMES[queue].to_lowercase()).unwrap()
    }

    /// Does something with a queue, and remembers what there is afterwards.
    fn with<T>(&self, queue: usize, work: impl FnOnce(&mut Queue) -> T) -> T {
        let result = self.entity(queue).with(work);
        self.remember();
        result
    }

    fn remember(&self) {
        let mut past = self.past.borrow_mut();
        let picture = self.picture();
        match self.journal.end() {
            u64::MAX if past.last.is_some() => {}
            u64::MAX => past.last = Some(picture),
            end => drop(past.pictures.insert(end, picture)),
        }
    }

    fn picture(&self) -> Picture {
        [0, 1, 2, 3, 4].map(|queue| {
            let mut bytes = Vec::new();
            let mut cursor = Cursor::Begin;
            while !matches!(cursor, Cursor::End) {
                cursor = self.entity(queue).snapshot(cursor, &mut bytes);
            }
            bytes
        })
    }

    fn counts(&self, queue: usize) -> QueueCounts {
        self.entity(queue).with(|queue| queue.counts())
    }
}

/// What a checkpoint says, but for where in the journal it was taken, and for message ids that are
/// forgotten by now: those may be there still, or not.
fn words(picture: &[u8], now: DateTime<Utc>) -> Vec<String> {
    let mut entries = Entries::of(picture);
    let mut words = Vec::new();
    let mut totals = String::new();
    while let Some(entry) = entries.next().unwrap() {
        match entry {
            Entry::Queue { .. } => totals = format!("{entry:?}"),
            Entry::MessagesAsOf { .. } | Entry::HistoryAsOf { .. } => {}
            Entry::Remembered { until_ms, .. } if until_ms <= now.timestamp_millis() => {}
            _ => words.push(format!("{entry:?}")),
        }
    }
    words.push(totals);
    words
}

/// Somebody who uses the queues in every way there is.
struct User {
    dice: StdRng,
    held: [Vec<Delivery>; NAMES.len()],
    sessions: HashMap<String, SessionLock>,
    bell: Arc<Doorbell>,
    sent: u32,
}

impl User {
    fn new(seed: u64) -> Self {
        Self {
            dice: StdRng::seed_from_u64(seed),
            held: [const { Vec::new() }; NAMES.len()],
            sessions: HashMap::new(),
            bell: Arc::default(),
            sent: 0,
        }
    }

    fn act(&mut self, world: &mut World) {
        let queue = self.dice.random_range(0..NAMES.len());
        match self.dice.random_range(0..12) {
            0..3 => self.send(world, queue),
            3..5 if queue == 2 => self.receive_in_session(world),
            3..5 => self.receive(world, queue),
            5..8 => self.settle(world, queue),
            8 => self.cancel(world, queue),
            9 if queue == 2 => self.set_state(world),
            9 => self.receive_deferred(world, queue),
            10 => {
                let seconds = [0, 1, 5, 20, 40][self.dice.random_range(0..5)];
                world.clock.advance(Duration::from_secs(seconds));
                let now = world.now();
                world.with(queue, |queue| queue.expire(now));
            }
            _ => {
                let (now, mut dead) = (world.now(), Vec::new());
                let handout = Handout {
                    sub_queue: SubQueue::DeadLetter,
                    max_messages: 1,
                    max_bytes: 1,
                };
                world.with(queue, |queue| queue.receive(now, handout, &mut dead));
                self.held[queue].append(&mut dead);
            }
        }
    }

    fn submission(&mut self, now: DateTime<Utc>) -> Submission {
        self.sent += 1;
        let dice = &mut self.dice;
        let id = dice.random_range(0..60).to_string();
        let session = format!("s{}", dice.random_range(0..4));
        let message = Message {
            properties: Some(Properties {
                message_id: Some(id.into()),
                group_id: Some(session),
                ..Properties::default()
            }),
            body: Body::data(vec![b'x'; dice.random_range(0..200)]),
            ..Message::default()
        };
        let mut encoded = BytesMut::new();
        message.encode(&mut encoded);
        let mut submissions = Vec::new();
        read_submissions(encoded.freeze(), false, &mut submissions).unwrap();
        let mut submission = submissions.pop().unwrap();
        submission.header = KeptHeader {
            durable: [None, Some(true), Some(false)][dice.random_range(0..3)],
            priority: [None, Some(9)][dice.random_range(0..2)],
            ttl_ms: [None, None, Some(0), Some(15_000)][dice.random_range(0..4)],
        };
        if dice.random_bool(0.2) {
            let in_ms = dice.random_range(-5_000..60_000);
            submission.scheduled_at_ms = Some(now.timestamp_millis() + in_ms);
        }
        submission
    }

    fn send(&mut self, world: &World, queue: usize) {
        let count = self.dice.random_range(1..5);
        let submissions: Vec<_> = (0..count).map(|_| self.submission(world.now())).collect();
        let cost = submissions.iter().map(Submission::cost).sum();
        let submissions = submissions.into_iter();
        let stored = world.with(queue, |queue| {
            queue.enqueue(world.now(), count, cost, submissions)
        });
        stored.unwrap();
    }

    fn receive(&mut self, world: &World, queue: usize) {
        let handout = Handout {
            sub_queue: SubQueue::Active,
            max_messages: self.dice.random_range(1..4),
            max_bytes: usize::MAX,
        };
        let held = &mut self.held[queue];
        world.with(queue, |queue| queue.receive(world.now(), handout, held));
    }

    fn receive_in_session(&mut self, world: &World) {
        let id = format!("s{}", self.dice.random_range(0..4));
        let receiver = Receiver {
            bell: &self.bell,
            link: 1,
        };
        let accepted = world.with(2, |queue| queue.accept_session(world.now(), &id, receiver));
        if let Ok(accepted) = accepted {
            self.sessions.insert(id.clone(), accepted.lock);
        }
        let Some(&lock) = self.sessions.get(&id) else {
            return;
        };
        let handout = Handout {
            sub_queue: SubQueue::Active,
            max_messages: 2,
            max_bytes: usize::MAX,
        };
        let held = &mut self.held[2];
        let _ = world.with(2, |queue| {
            queue.receive_in_session(world.now(), lock, handout, held)
        });
        if self.dice.random_bool(0.2) {
            world.with(2, |queue| queue.release_session(world.now(), lock));
        }
    }

    fn set_state(&mut self, world: &World) {
        let states = [None, Some(&b"state"[..]), Some(&b""[..])];
        let state = states[self.dice.random_range(0..3)];
        if let Some(lock) = self.sessions.values().next() {
            // The session may be another's by now.
            let _ = world.with(2, |queue| {
                queue.set_session_state(world.now(), *lock, state)
            });
        }
    }

    fn settle(&mut self, world: &World, queue: usize) {
        if self.held[queue].is_empty() {
            return;
        }
        let which = self.dice.random_range(0..self.held[queue].len());
        let delivery = self.held[queue].swap_remove(which);
        let reason = Amendments::dead_letter(Some("reason"), None);
        let settlement = match self.dice.random_range(0..7) {
            0 | 1 => Settlement::Complete,
            2 => Settlement::Abandon(Amendments::default()),
            3 => Settlement::Abandon(reason),
            4 => Settlement::Defer(Amendments::default()),
            5 => Settlement::Release,
            _ => Settlement::DeadLetter(reason),
        };
        let token = delivery.lock.token;
        // The lock may have ended.
        let _ = world.with(queue, |queue| queue.settle(world.now(), token, &settlement));
    }

    fn cancel(&mut self, world: &World, queue: usize) {
        let sequence = self.dice.random_range(1..60);
        let _ = world.with(queue, |queue| queue.cancel(world.now(), &[sequence]));
    }

    fn receive_deferred(&mut self, world: &World, queue: usize) {
        let sequence = self.dice.random_range(1..60);
        let received = world.with(queue, |queue| {
            let place = Place::SubQueue(SubQueue::Active);
            queue.receive_deferred(world.now(), place, &[sequence], usize::MAX)
        });
        self.held[queue].extend(received.into_iter().flatten());
    }

    /// A new broker knows no lock that an old one gave.
    fn check_locks_are_lost(&mut self, world: &World) {
        for (queue, held) in self.held.iter_mut().enumerate() {
            for delivery in held.drain(..) {
                let token: LockToken = delivery.lock.token;
                let settled = world.with(queue, |queue| {
                    queue.settle(world.now(), token, &Settlement::Complete)
                });
                assert_eq!(settled, Err(NotSettled::LockLost));
            }
        }
        self.sessions.clear();
    }
}

/// Lives for `steps`, and says how far the disk had come.
fn live(world: &mut World, user: &mut User, steps: usize, compact_every: usize) -> u64 {
    world.remember();
    let mut durable = world.journal.durable();
    for step in 1..=steps {
        user.act(world);
        if step % 7 == 0 && world.journal.catch_up() {
            durable = world.journal.durable();
        }
        if step % compact_every == 0 {
            let stop = CancellationToken::new();
            drop(compact(&world.namespace, &world.journal, &stop));
        }
    }
    durable
}

/// Compares a world that came back with the one that there was at the same position.
fn check(world: &World, past: &Past, durable: u64, what: &str) {
    // Opening tells the journal nothing new: the queues are known.
    let end = world.journal.end();
    assert!(end >= durable, "{what}: {end} is before {durable}");
    let known = past.pictures.get(&end);
    let expected = known.or_else(|| {
        let last = past.pictures.keys().max();
        past.last.as_ref().filter(|_| last < Some(&end))
    });
    let expected = expected.unwrap_or_else(|| panic!("{what}: no state at {end}"));
    for (queue, found) in world.picture().iter().enumerate() {
        let [found, expected] =
            [found, &expected[queue]].map(|picture| words(picture, world.now()));
        assert_eq!(found, expected, "{what}: {}", NAMES[queue]);
    }
}

fn begin() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

#[test]
fn a_killed_broker_comes_back_as_it_was() {
    for seed in seeds(8) {
        let mut disk = Disk::default();
        let mut user = User::new(seed);
        let mut now = begin();
        for generation in 0..4 {
            let mut world = World::open(&disk, now).unwrap();
            let durable = live(&mut world, &mut user, 150, 60);
            now = world.now() + Duration::from_secs(user.dice.random_range(0..30));
            let before: Vec<QueueCounts> =
                (0..NAMES.len()).map(|queue| world.counts(queue)).collect();
            let past = world.past.take();
            drop(world);
            disk = disk.kill();
            let world = World::open(&disk, now).unwrap();
            check(
                &world,
                &past,
                durable,
                &format!("seed {seed}, generation {generation}"),
            );
            for (queue, before) in before.into_iter().enumerate() {
                let after = world.counts(queue);
                // Locked messages are active or deferred again.
                let alive = |counts: QueueCounts| counts.active + counts.locked + counts.deferred;
                let [was, is] = [before, after].map(|counts| {
                    let QueueCounts {
                        scheduled,
                        dead_letter,
                        bytes,
                        accepted,
                        removed,
                        ..
                    } = counts;
                    (
                        alive(counts),
                        scheduled,
                        dead_letter,
                        bytes,
                        accepted,
                        removed,
                    )
                });
                assert_eq!(is, was);
                assert_eq!(after.locked, 0);
            }
            user.check_locks_are_lost(&world);
        }
    }
}

#[test]
fn a_machine_without_power_comes_back_as_it_was_at_some_point_after_the_last_confirmed_one() {
    for seed in seeds(15) {
        let mut disk = Disk::default();
        let mut user = User::new(seed);
        let mut now = begin();
        for generation in 0..3 {
            let mut world = World::open(&disk, now).unwrap();
            let in_operations = user.dice.random_range(5..120);
            disk.die_at(disk.operations() + in_operations, seed);
            let durable = live(&mut world, &mut user, 120, 25);
            now = world.now();
            let past = world.past.take();
            drop(world);
            disk = disk.cut_power(seed);
            let world = World::open(&disk, now).unwrap();
            check(
                &world,
                &past,
                durable,
                &format!("seed {seed}, generation {generation}"),
            );
            user.check_locks_are_lost(&world);
        }
    }
}

#[test]
fn a_checkpoint_taken_while_the_queues_go_on_holds_what_its_changes_do_not() {
    for seed in seeds(8) {
        let disk = Disk::default();
        let mut user = User::new(seed);
        let mut world = World::open(&disk, begin()).unwrap();
        live(&mut world, &mut user, 200, 1_000);
        let (namespace, journal) = (Arc::clone(&world.namespace), Arc::clone(&world.journal));
        let mut pieces = Pieces::of(&namespace);
        let written = journal.compact(|out| {
            live(&mut world, &mut user, 2, 1_000);
            pieces.next(out)
        });
        written.unwrap();
        live(&mut world, &mut user, 20, 1_000);
        let now = world.now();
        let past = world.past.take();
        drop(world);
        let names = disk.list();
        assert!(names[0].starts_with("checkpoint"), "{names:?}");
        let world = World::open(&disk.kill(), now).unwrap();
        check(&world, &past, 0, &format!("seed {seed}"));
    }
}

#[test]
fn a_queue_that_is_not_served_keeps_its_messages_until_it_is() {
    let disk = Disk::default();
    let mut user = User::new(1);
    let world = World::open(&disk, begin()).unwrap();
    for _ in 0..5 {
        user.send(&world, 2);
    }
    let before = world.counts(2).total();
    drop(world);
    let disk = disk.kill();
    let only = BrokerConfig::new([QueueConfig::new("plain")]);
    let world = World::open_as(&only, &disk, begin()).unwrap();
    let unserved: Vec<_> = world.namespace.unserved().collect();
    assert_eq!(unserved, [("sessions", before)]);
    assert!(world.namespace.get("sessions").is_none());
    compact(&world.namespace, &world.journal, &CancellationToken::new()).unwrap();
    drop(world);
    let world = World::open(&disk.kill(), begin()).unwrap();
    assert_eq!(world.counts(2).total(), before);
    // They are in their sessions again.
    user.receive_in_session(&world);
    assert!(!user.held[2].is_empty());
}

#[test]
fn a_queue_that_is_not_served_remembers_message_ids() {
    let disk = Disk::default();
    let mut user = User::new(3);
    let world = World::open(&disk, begin()).unwrap();
    user.send(&world, 1);
    let remembered = |world: &World| {
        let picture = world.picture();
        let words = words(&picture[1], world.now());
        let ids = words.into_iter();
        ids.filter(|word| word.starts_with("Remembered"))
            .collect::<Vec<_>>()
    };
    let before = remembered(&world);
    assert!(!before.is_empty());
    drop(world);
    let only = BrokerConfig::new([QueueConfig::new("plain")]);
    let disk = disk.kill();
    let world = World::open_as(&only, &disk, begin()).unwrap();
    compact(&world.namespace, &world.journal, &CancellationToken::new()).unwrap();
    drop(world);
    let world = World::open(&disk.kill(), begin()).unwrap();
    assert_eq!(remembered(&world), before);
}

#[test]
fn a_changed_setting_holds_from_then_on() {
    let disk = Disk::default();
    let mut user = User::new(2);
    let world = World::open(&disk, begin()).unwrap();
    for _ in 0..5 {
        user.send(&world, 2);
        user.send(&world, 0);
    }
    let totals = [world.counts(0).total(), world.counts(2).total()];
    drop(world);
    // The one queue has sessions no more, and the other one has.
    let changed = BrokerConfig::new([
        QueueConfig::new("plain").requires_session(true),
        QueueConfig::new("strict"),
        QueueConfig::new("sessions"),
        QueueConfig::new("entry"),
        QueueConfig::new("graves"),
    ]);
    let world = World::open_as(&changed, &disk.kill(), begin()).unwrap();
    assert_eq!([world.counts(0).total(), world.counts(2).total()], totals);
    user.receive(&world, 2);
    assert!(!user.held[2].is_empty());
    let receiver = Receiver {
        bell: &user.bell,
        link: 1,
    };
    let accepted = world.with(0, |queue| queue.accept_next_session(begin(), receiver));
    assert!(accepted.unwrap().id.starts_with('s'));
}
