//! The receivers that have credit and found the queue empty, in the order in which they came.
//!
//! When messages become ready, just as many receivers are woken as their credit needs to cover
//! them: a receiver that was woken and has not looked yet still counts, so a thousand messages sent
//! to one receiver wake it once. A receiver that leaves without looking passes its wake-up on to
//! the next one. Waking is a hint and never a promise of a message: whoever looks first is served.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

/// How a queue tells a connection that one of its links should look again.
///
/// One per connection. Ringing is cheap: a push on a short list, and a wake-up of the task only
/// when the list was empty.
#[derive(Debug, Default)]
pub(crate) struct Doorbell {
    rung: Mutex<Vec<u64>>,
    notify: Notify,
}

impl Doorbell {
    pub(super) fn ring(&self, link: u64) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        rung.push(link);
        if rung.len() == 1 {
            self.notify.notify_one();
        }
    }

    /// Waits until somebody rings. Does not lose a ring that came before the call.
    pub(crate) async fn rung(&self) {
        self.notify.notified().await;
    }

    /// Moves the links that should look again to the end of `into`.
    pub(crate) fn collect(&self, into: &mut Vec<u64>) {
        into.append(&mut self.rung.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A receiver's place in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

#[derive(Debug)]
struct Waiter {
    bell: Arc<Doorbell>,
    link: u64,
    credit: usize,
}

/// The line.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    idle: BTreeMap<Ticket, Waiter>,
    /// Receivers that were woken and have not looked yet, with their credit.
    woken: BTreeMap<Ticket, usize>,
    /// The sum of `woken`.
    covered: usize,
    issued: u64,
}

impl Waiters {
    /// Puts a receiver at the end of the line. `bell` rings with `link`.
    pub(crate) fn join(&mut self, bell: &Arc<Doorbell>, link: u64, credit: usize) -> Ticket {
        self.issued += 1;
        let ticket = Ticket(self.issued);
        self.idle.insert(
            ticket,
            Waiter {
                bell: Arc::clone(bell),
                link,
                credit,
            },
        );
        ticket
    }

    /// Takes a receiver out of the line, because it looks now or because it is gone.
    pub(crate) fn leave(&mut self, ticket: Ticket) {
        if let Some(credit) = self.woken.remove(&ticket) {
            self.covered -= credit;
        } else {
            self.idle.remove(&ticket);
        }
    }

    /// Wakes as many receivers as `ready` messages need.
    pub(crate) fn wake(&mut self, ready: usize) {
        while self.covered < ready {
            let Some((ticket, waiter)) = self.idle.pop_first() else {
                return;
            };
            self.covered += waiter.credit;
            self.woken.insert(ticket, waiter.credit);
            waiter.bell.ring(waiter.link);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rings(bell: &Doorbell) -> Vec<u64> {
        let mut links = Vec::new();
        bell.collect(&mut links);
        links
    }

    #[test]
    fn a_thousand_messages_wake_one_receiver_once() {
        let (mut waiters, bell) = (Waiters::default(), Arc::default());
        waiters.join(&bell, 7, 1_000);
        waiters.join(&bell, 8, 1_000);
        for ready in 1..=1_000 {
            waiters.wake(ready);
        }
        assert_eq!(rings(&bell), [7]);
        waiters.wake(1_001);
        assert_eq!(rings(&bell), [8]);
    }

    #[test]
    fn a_receiver_that_leaves_passes_its_wake_up_on() {
        let (mut waiters, bell) = (Waiters::default(), Arc::default());
        let first = waiters.join(&bell, 1, 1);
        waiters.join(&bell, 2, 1);
        waiters.wake(1);
        assert_eq!(rings(&bell), [1]);
        waiters.leave(first);
        waiters.wake(1);
        assert_eq!(rings(&bell), [2]);
    }

    #[test]
    fn the_line_is_served_in_order() {
        let (mut waiters, bell) = (Waiters::default(), Arc::default());
        for link in 1..=3 {
            waiters.join(&bell, link, 1);
        }
        waiters.wake(2);
        assert_eq!(rings(&bell), [1, 2]);
    }
}
