//! Members that wait for a slot of their function's rate limit.

use std::collections::HashSet;

use nightshift_time::SharedClock;
use rand::Rng;

use super::{Task, Work, session};
use crate::fate::{Fate, later};
use crate::rate::{Given, Rate, beyond_for, closed_for};

impl<'a, I> Work<'a, I> {
    /// Takes slots for what is to be run, and lets those wait whose slot is not now. One that has waited
    /// for its slot takes no other. Within a session nothing takes one behind what waits.
    pub(crate) async fn take_slots(&mut self, rate: &Rate, clock: &SharedClock) {
        let asking: Vec<&Task<'_, I>> = self.tasks.iter().filter(|task| task.asks()).collect();
        let given = if asking.is_empty() {
            Given::Unlimited
        } else {
            rate.take(asking.len(), &self.wanted_by_free(&asking)).await
        };
        let now = clock.now();
        let mut index = 0;
        let mut stopped = HashSet::new();
        for task in self
            .tasks
            .iter_mut()
            .filter(|task| task.fate.is_none() && !task.has_slot)
        {
            let session = session(task.member).filter(|_| self.function.has_sessions);
            let attempt = task.origin.attempt;
            if session.is_some_and(|session| stopped.contains(session)) {
                task.fate = Some(Fate::parked(attempt, now));
                continue;
            }
            let fate = match (task.member.slot.get(), given) {
                (Some(slot), _) => Some(Fate::limited(*slot, attempt)),
                (None, Given::Unlimited) => None,
                (None, Given::Closed) => {
                    let pause = closed_for(task.member.r#gen(), rand::rng().random());
                    Some(Fate::closed(later(now, pause), attempt))
                }
                (None, Given::Slots(slots)) => {
                    let wait = slots.wait(index);
                    index += 1;
                    Some(if let Some(wait) = wait {
                        let slot = task.member.slot.get_or_init(|| later(now, wait));
                        Fate::limited(*slot, attempt)
                    } else {
                        let pause = beyond_for(rand::rng().random());
                        Fate::closed(later(now, pause), attempt)
                    })
                }
            };
            task.fate = fate.filter(|fate| fate.is_due_after(now));
            if task.fate.is_some() {
                stopped.extend(session);
            }
        }
    }

    /// How many slots are wanted with none free, with one, and so on: of those that wait for their slots
    /// only the first of each session takes one.
    fn wanted_by_free(&self, asking: &[&Task<'a, I>]) -> Vec<usize> {
        if !self.function.has_sessions {
            return Vec::new();
        }
        let mut waiting = HashSet::new();
        let mut wanted = vec![asking.len()];
        for (free, task) in asking.iter().enumerate().rev() {
            waiting.insert(session(task.member));
            wanted.push(free + waiting.len());
        }
        wanted.reverse();
        wanted
    }
}

impl<I> Task<'_, I> {
    /// Whether it needs a slot and has none.
    fn asks(&self) -> bool {
        self.fate.is_none() && !self.has_slot && self.member.slot.get().is_none()
    }
}
