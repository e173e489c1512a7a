//! How many messages one invocation takes.
//!
//! A batch is what is waiting: it never waits for more unless `minMessageBatchSize` says so. It is
//! bounded in count and in bytes, because the count alone would let a thousand large messages
//! become one request of hundreds of megabytes.

use std::pin::pin;
use std::time::Duration;

use nightshift_bindings::host_json::ServiceBusOptions;
use nightshift_bus::{ReceivedMessage, Receiver};
use tokio::time::Instant;

/// What a message is taken to weigh before any has been seen: the largest of the standard tier.
const FIRST_GUESS_BYTES: usize = 256 * 1024;

/// Fetching is bounded by bytes, too, by asking for as many messages as fit if they are like the
/// last ones.
#[derive(Debug)]
pub(super) struct BatchLimits {
    max: usize,
    min: usize,
    max_wait: Duration,
    budget_bytes: usize,
    usual_bytes: usize,
    /// How many messages are asked for at most, since more could not be worked on at once.
    ceiling: usize,
}

impl BatchLimits {
    pub(super) fn new(options: &ServiceBusOptions, budget_bytes: usize) -> Self {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            max: count(options.max_message_batch_size),
            min: count(options.min_message_batch_size),
            max_wait: options.max_batch_wait_time,
            budget_bytes,
            usual_bytes: FIRST_GUESS_BYTES,
            ceiling: usize::MAX,
        }
    }

    /// How many messages to ask for now.
    pub(super) fn ask(&self) -> usize {
        let fitting = self.budget_bytes / self.usual_bytes.max(1);
        fitting.min(self.ceiling).clamp(1, self.max)
    }

    /// More messages came than could be worked on at once: asks for `ceiling` at most.
    pub(super) fn narrow(&mut self, ceiling: usize) {
        self.ceiling = ceiling.max(1);
    }

    /// Everything that came was worked on together: asks for more by and by.
    pub(super) fn widen(&mut self) {
        self.ceiling = self.ceiling.saturating_mul(2);
    }

    /// Waits for the minimum, if there is one, until `maxBatchWaitTime` is over, the bytes are
    /// reached, or `halted` says that receiving must end.
    pub(super) async fn fill<T>(
        &mut self,
        batch: &mut Vec<ReceivedMessage>,
        receiver: &Receiver,
        halted: impl Future<Output = T>,
    ) {
        self.learn(batch);
        let min = self.min.min(self.ceiling);
        if batch.is_empty() || batch.len() >= min {
            return;
        }
        let mut halted = pin!(halted);
        let deadline = Instant::now() + self.max_wait;
        while batch.len() < min && total_bytes(batch) < self.budget_bytes {
            let left = deadline.saturating_duration_since(Instant::now());
            let wanted = self.ask().min(self.max - batch.len());
            let more = tokio::select! {
                _ = &mut halted => break,
                more = receiver.receive_messages(wanted, left) => more,
            };
            match more {
                Ok(more) if !more.is_empty() => batch.extend(more),
                // Time is over; or the connection is, which the next call will meet again.
                _ => break,
            }
        }
    }

    fn learn(&mut self, batch: &[ReceivedMessage]) {
        if !batch.is_empty() {
            self.usual_bytes = learned(self.usual_bytes, total_bytes(batch) / batch.len());
        }
    }

    /// Splits a batch into invocations that keep to the budget; a message above it goes alone.
    pub(super) fn split(&self, batch: Vec<ReceivedMessage>) -> Vec<Vec<ReceivedMessage>> {
        split_by_weight(batch, self.budget_bytes, |message| {
            message.message.body.len()
        })
    }
}

/// Believes larger messages at once and smaller ones by and by.
fn learned(usual: usize, seen: usize) -> usize {
    let seen = seen.max(1);
    if seen >= usual {
        seen
    } else {
        seen.midpoint(usual)
    }
}

fn total_bytes(batch: &[ReceivedMessage]) -> usize {
    batch.iter().map(|message| message.message.body.len()).sum()
}

fn split_by_weight<T>(items: Vec<T>, budget: usize, weight: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut left = 0;
    for item in items {
        let weight = weight(&item);
        match parts.last_mut() {
            Some(part) if weight <= left => part.push(item),
            _ => {
                parts.push(vec![item]);
                left = budget;
            }
        }
        left = left.saturating_sub(weight);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_split_at_the_budget_and_keeps_its_order() {
        let parts = split_by_weight(vec![3, 3, 4, 1, 20, 0, 5, 5, 1], 10, |weight| *weight);
        assert_eq!(
            parts,
            [vec![3, 3, 4], vec![1], vec![20, 0], vec![5, 5], vec![1]]
        );
        assert!(split_by_weight(Vec::<usize>::new(), 10, |weight| *weight).is_empty());
    }

    #[test]
    fn what_is_asked_for_follows_the_size_of_what_came() {
        let mut limits = BatchLimits::new(&ServiceBusOptions::default(), 16 * 1024 * 1024);
        assert_eq!(limits.ask(), 64);
        for _ in 0..5 {
            limits.usual_bytes = learned(limits.usual_bytes, 256);
        }
        assert_eq!(limits.ask(), 1_000);
        limits.usual_bytes = learned(limits.usual_bytes, 1024 * 1024);
        assert_eq!(limits.ask(), 16);
        limits.usual_bytes = usize::MAX;
        assert_eq!(limits.ask(), 1);
    }

    #[test]
    fn what_could_not_be_worked_on_is_not_asked_for_again_at_once() {
        let mut limits = BatchLimits::new(&ServiceBusOptions::default(), usize::MAX);
        limits.narrow(0);
        let mut asked = vec![limits.ask()];
        for _ in 0..11 {
            limits.widen();
            asked.push(limits.ask());
        }
        assert_eq!(asked, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_000, 1_000]);
    }
}
