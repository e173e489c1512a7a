//! What is checked of calls, runs and ticks: each must be there exactly once.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::{Fault, Ordered, Report};
use crate::chaos::clock::PERIOD;
use crate::chaos::order::{KILLER, Order, SESSIONS, STEPS};

/// What calls, runs and ticks have come to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shapes {
    /// The order of each call on which the other system has acted.
    pub(crate) acted: Vec<String>,
    /// The order of each answer that was written down.
    pub(crate) answers: Vec<String>,
    /// After how many calls the other system had to be asked.
    pub(crate) asked: usize,
    /// Order, step and epoch of each step of a run, in the order in which they were written.
    pub(crate) steps: Vec<(String, i32, i32)>,
    /// The order of each message in a session, in the order in which they were done.
    pub(crate) in_session: Vec<String>,
    /// Every tick and its state, in their order.
    pub(crate) ticks: Vec<(DateTime<Utc>, String)>,
    /// Every tick that was worked on.
    pub(crate) ticked: Vec<DateTime<Utc>>,
    /// The dead ones, by their order or due time, and why they are dead.
    pub(crate) dead: Vec<(String, String)>,
}

impl Shapes {
    /// Adds everything that is wrong to `report`.
    pub(super) fn check(&self, ordered: &Ordered, report: &mut Report) {
        let mut suspects = HashSet::new();
        for (id, reason) in &self.dead {
            if reason == KILLER {
                report.suspects += 1;
                suspects.insert(id.as_str());
            } else {
                report.add(Fault::WrongEnd, format!("{id} is dead: {reason}"));
            }
        }
        let is_innocent = |order: &&Order| !suspects.contains(order.id.as_str());
        self.check_calls(ordered.calls.iter().filter(is_innocent), report);
        self.check_runs(ordered.runs.iter().filter(is_innocent), report);
        self.check_sessions(&ordered.in_sessions, &suspects, report);
        self.check_ticks(&suspects, report);
    }

    /// Each is done once, after those that came before it in its session.
    fn check_sessions(&self, orders: &[Order], suspects: &HashSet<&str>, report: &mut Report) {
        let ids = orders.iter().map(|order| order.id.clone());
        let innocent: Vec<String> = ids.filter(|id| !suspects.contains(id.as_str())).collect();
        once("in a session", &innocent, &self.in_session, report);
        let places = orders.iter().enumerate();
        let places: HashMap<&str, usize> =
            places.map(|(n, order)| (order.id.as_str(), n)).collect();
        let mut last: HashMap<usize, usize> = HashMap::new();
        for id in &self.in_session {
            let Some(place) = places.get(id.as_str()) else {
                continue;
            };
            if let Some(before) = last.insert(place % SESSIONS, *place)
                && *place < before
            {
                report.add(Fault::OutOfOrder, format!("{id} after the {before}th"));
            }
        }
        report.in_sessions = orders.len();
    }

    fn check_calls<'a>(&self, calls: impl Iterator<Item = &'a Order>, report: &mut Report) {
        let calls: Vec<String> = calls.map(|order| order.id.clone()).collect();
        once("call", &calls, &self.acted, report);
        once("answer", &calls, &self.answers, report);
        report.calls = calls.len();
        report.asked = self.asked;
    }

    fn check_runs<'a>(&self, runs: impl Iterator<Item = &'a Order>, report: &mut Report) {
        let step = |id: &str, step: i32| format!("{id}, step {step}");
        let runs: Vec<&str> = runs.map(|order| order.id.as_str()).collect();
        let expected = runs
            .iter()
            .flat_map(|id| (1..=STEPS).map(|nth| step(id, nth)));
        let found = self.steps.iter().map(|(id, nth, _)| step(id, *nth));
        once(
            "run",
            &expected.collect::<Vec<_>>(),
            &found.collect::<Vec<_>>(),
            report,
        );
        let mut last: HashMap<&str, (i32, i32)> = HashMap::new();
        let mut taken_over = HashSet::new();
        for (id, nth, epoch) in &self.steps {
            if let Some((before, taken)) = last.insert(id, (*nth, *epoch)) {
                if *nth < before || *epoch < taken {
                    let what = format!(
                        "{id}, step {nth} of epoch {epoch} after step {before} of epoch {taken}"
                    );
                    report.add(Fault::Zombie, what);
                }
                if *epoch != taken {
                    taken_over.insert(id);
                }
            }
        }
        report.runs = runs.len();
        report.taken_over = taken_over.len();
    }

    /// There is a tick for each moment at which one was due, and those that were not skipped have an effect.
    fn check_ticks(&self, suspects: &HashSet<&str>, report: &mut Report) {
        let name = |due: &DateTime<Utc>| due.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let (Some((first, _)), Some((last, _))) = (self.ticks.first(), self.ticks.last()) else {
            once(
                "tick",
                &[],
                &self.ticked.iter().map(name).collect::<Vec<_>>(),
                report,
            );
            return;
        };
        let due =
            std::iter::successors(Some(*first), |due| Some(*due + TimeDelta::seconds(PERIOD)));
        let due: Vec<String> = due
            .take_while(|due| due <= last)
            .map(|due| name(&due))
            .collect();
        let written: Vec<String> = self.ticks.iter().map(|(due, _)| name(due)).collect();
        once("due tick", &due, &written, report);
        let mut done = Vec::new();
        for (due, state) in &self.ticks {
            let due = name(due);
            match state.as_str() {
                "done" => done.push(due),
                "skipped" => {}
                "failed" if suspects.contains(due.as_str()) => {}
                _ => report.add(Fault::WrongEnd, format!("the tick of {due} is {state}")),
            }
        }
        let ticked: Vec<String> = self.ticked.iter().map(name).collect();
        once("tick", &done, &ticked, report);
        report.ticks = due.len();
    }
}

/// Whether each of `expected` is among `found` exactly once, and nothing else is.
fn once(what: &str, expected: &[String], found: &[String], report: &mut Report) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for id in found {
        *counts.entry(id).or_default() += 1;
    }
    for id in expected {
        match counts.remove(id.as_str()) {
            None => report.add(Fault::Lost, format!("{what}: {id}")),
            Some(1) => {}
            Some(count) => report.add(Fault::Doubled, format!("{what}: {id}, {count} times")),
        }
    }
    for id in counts.keys() {
        report.add(Fault::LeftOver, format!("{what}: {id} is not due"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_000_000 + second, 0).unwrap()
    }

    fn ordered() -> Ordered {
        Ordered {
            calls: vec![Order::call("c", 1)],
            runs: vec![Order::run("r", 1)],
            in_sessions: (0..6).map(|n| Order::in_session("s", n)).collect(),
            ..Ordered::default()
        }
    }

    /// Sessions, a call, a run that was taken over, two ticks and one that was skipped.
    fn fine() -> Shapes {
        let run = Order::run("r", 1).id;
        Shapes {
            acted: vec![Order::call("c", 1).id],
            answers: vec![Order::call("c", 1).id],
            asked: 1,
            steps: [(1, 1), (2, 1), (3, 2), (4, 2)]
                .map(|(step, epoch)| (run.clone(), step, epoch))
                .into(),
            in_session: [1, 0, 5, 2, 3, 4]
                .map(|n| Order::in_session("s", n).id)
                .into(),
            ticks: [(0, "done"), (2, "done"), (4, "skipped")]
                .map(|(second, state)| (at(second), state.to_owned()))
                .into(),
            ticked: vec![at(0), at(2)],
            dead: Vec::new(),
        }
    }

    fn found(change: impl FnOnce(&mut Shapes)) -> Vec<(Fault, usize)> {
        let mut shapes = fine();
        change(&mut shapes);
        let mut report = Report::default();
        shapes.check(&ordered(), &mut report);
        let faults = report.faults.iter();
        faults.map(|(fault, found)| (*fault, found.len())).collect()
    }

    #[test]
    fn what_is_fine_is_clean_and_counted() {
        let mut report = Report::default();
        fine().check(&ordered(), &mut report);
        assert!(report.is_clean(), "{report}");
        let counts = (
            report.calls,
            report.asked,
            report.runs,
            report.taken_over,
            report.ticks,
        );
        assert_eq!(counts, (1, 1, 1, 1, 3));
    }

    #[test]
    fn a_call_that_is_made_twice_or_never_answered_is_seen() {
        let twice = |s: &mut Shapes| s.acted.push(s.acted[0].clone());
        assert_eq!(found(twice), [(Fault::Doubled, 1)]);
        assert_eq!(found(|s| s.answers.clear()), [(Fault::Lost, 1)]);
    }

    #[test]
    fn a_message_that_overtakes_another_one_of_its_session_is_seen() {
        assert_eq!(found(|s| s.in_session.swap(1, 5)), [(Fault::OutOfOrder, 1)]);
        assert_eq!(found(|s| drop(s.in_session.pop())), [(Fault::Lost, 1)]);
    }

    #[test]
    fn a_step_that_is_missing_or_comes_from_an_epoch_that_is_over_is_seen() {
        assert_eq!(found(|s| drop(s.steps.pop())), [(Fault::Lost, 1)]);
        assert_eq!(found(|s| s.steps[3].2 = 1), [(Fault::Zombie, 1)]);
        let again = |s: &mut Shapes| s.steps.push(s.steps[1].clone());
        assert_eq!(found(again), [(Fault::Doubled, 1), (Fault::Zombie, 1)]);
    }

    #[test]
    fn a_tick_that_is_missing_doubled_or_not_ended_is_seen() {
        assert_eq!(found(|s| s.ticked.truncate(1)), [(Fault::Lost, 1)]);
        assert_eq!(found(|s| s.ticked.push(at(2))), [(Fault::Doubled, 1)]);
        assert_eq!(found(|s| s.ticked.push(at(4))), [(Fault::LeftOver, 1)]);
        let gap = |s: &mut Shapes| {
            s.ticks.remove(1);
            s.ticked.remove(1);
        };
        assert_eq!(found(gap), [(Fault::Lost, 1)]);
        let open = |s: &mut Shapes| {
            s.ticks[1].1 = "enqueued".to_owned();
            s.ticked.remove(1);
        };
        assert_eq!(found(open), [(Fault::WrongEnd, 1)]);
    }

    #[test]
    fn whoever_is_taken_for_a_killer_is_counted_and_others_must_not_be_dead() {
        let dead = |reason: &str| {
            let reason = reason.to_owned();
            found(|s| {
                s.dead.push((s.acted[0].clone(), reason));
                s.acted.clear();
                s.answers.clear();
            })
        };
        assert_eq!(dead(KILLER), []);
        assert_eq!(dead("broken"), [(Fault::Lost, 2), (Fault::WrongEnd, 1)]);
    }
}
