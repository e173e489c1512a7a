//! The rules of a queue, each in a few microseconds: the clock is an argument.

mod bounds;
mod dead_letters;
mod deferral;
mod duplicates;
mod forwarding;
mod locks;
mod model;
mod order;
mod schedule;
mod session_life;
mod sessions;
mod time_to_live;

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::*;
use crate::config::{Limits, QueueConfig};

/// A queue together with what time it is there.
struct Bench {
    queue: Queue,
    now: DateTime<Utc>,
}

impl Bench {
    fn new(config: &QueueConfig) -> Self {
        Self::with_limits(config, &Limits::default())
    }

    fn with_limits(config: &QueueConfig, limits: &Limits) -> Self {
        let usage = Arc::new(Usage::new(limits.total_bytes));
        let queue = Queue::new(Settings::new(config, limits, &usage));
        Self {
            queue,
            now: DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
        }
    }

    fn send(&mut self, text: &str) {
        self.submit(submission_of(text)).unwrap();
    }

    fn submit(&mut self, submission: Submission) -> Result<(), QueueFull> {
        let cost = submission.cost();
        self.queue
            .enqueue(self.now, 1, cost, std::iter::once(submission))
    }

    fn take(&mut self, sub_queue: SubQueue, max_messages: usize) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        let handout = Handout {
            sub_queue,
            max_messages,
            max_bytes: usize::MAX,
        };
        self.queue.receive(self.now, handout, &mut deliveries);
        deliveries
    }

    fn lock(&mut self) -> Delivery {
        self.take(SubQueue::Active, 1)
            .pop()
            .expect("a ready message")
    }

    fn lock_dead(&mut self) -> Delivery {
        self.take(SubQueue::DeadLetter, 1)
            .pop()
            .expect("a dead letter")
    }

    fn settle(&mut self, delivery: &Delivery, settlement: &Settlement) -> Result<(), NotSettled> {
        self.queue.settle(self.now, delivery.lock.token, settlement)
    }

    fn abandon(&mut self, delivery: &Delivery) {
        self.settle(delivery, &Settlement::Abandon(Amendments::default()))
            .unwrap();
    }

    fn pass(&mut self, span: Duration) {
        self.now += span;
        self.queue.expire(self.now);
    }

    /// (active, locked, dead letters)
    fn counts(&self) -> (usize, usize, usize) {
        let counts = self.queue.counts();
        (counts.active, counts.locked, counts.dead_letter)
    }
}

/// A message whose bare part is one data section with `text`.
fn submission_of(text: &str) -> Submission {
    let mut bytes = vec![0x00, 0x53, 0x75, 0xa0, u8::try_from(text.len()).unwrap()];
    bytes.extend_from_slice(text.as_bytes());
    Submission {
        header: KeptHeader::default(),
        scheduled_at_ms: None,
        message_id: None,
        session_id: None,
        content: Content::new(&bytes, 0, 0),
        origin: None,
    }
}

/// The text that [`submission_of`] put into a message, be it alone in its bare part or last.
fn text(delivery: &Delivery) -> String {
    let bare = delivery.content.bare();
    let at = bare
        .windows(4)
        .rposition(|w| w == [0x00, 0x53, 0x75, 0xa0])
        .expect("a data section");
    String::from_utf8(bare[at + 5..].to_vec()).unwrap()
}

fn texts(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(text).collect()
}
