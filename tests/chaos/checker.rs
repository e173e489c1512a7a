//! Compares what was ordered with what has become of it.
//!
//! Plain code over plain data, so that it can be shown to see what it looks for: its tests below forge
//! the evidence, and `tests/it/kill_matrix.rs` takes away what keeps messages from being lost and
//! doubled.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_job::JobKey;

use super::function::Try;
use super::order::{BACKOFF, BUSY, Mishap, Order};

/// How far the broker's clock reading, in milliseconds, may be before the instant that it was given.
const GRAIN: TimeDelta = TimeDelta::milliseconds(1);

/// How late a message may be tried again when whoever should have sent, fetched or run it was killed: what
/// a dead process has promised is sent after 10 s, or 30 or 70 if those who do so are killed, too; and a
/// lock lasts 5 s. Before the two minutes after which a lost copy would be replaced: none may be lost.
const LATEST: TimeDelta = TimeDelta::seconds(100);

/// Why a message is dead that is taken for what ends its processes: it was delivered three times or more,
/// and two have ended when they ran it by itself. Kills at any moment make that of an innocent one, too, if
/// it meets five of them in a row.
const SUSPECT: &str = "kills-the-process";

/// How many examples of each fault are told.
const EXAMPLES: usize = 5;

/// All that is known after the load, when nothing moves any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    /// What the broker has accepted.
    pub(crate) orders: Vec<Order>,
    /// Order and try of every effect.
    pub(crate) effects: Vec<(String, u32)>,
    pub(crate) tries: Vec<Try>,
    pub(crate) waits: Vec<Wait>,
    /// The keys in the inbox.
    pub(crate) claims: Vec<JobKey>,
    pub(crate) dead: Vec<Dead>,
    /// The keys of messages that wait.
    pub(crate) open: Vec<JobKey>,
    /// Whatever else is still somewhere, in words.
    pub(crate) left: Vec<String>,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dead {
    pub(crate) id: String,
    pub(crate) key: JobKey,
    pub(crate) reason: String,
}

/// A message that was made to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) key: JobKey,
    /// Failed tries by then.
    pub(crate) attempt: u32,
    pub(crate) is_snooze: bool,
    pub(crate) due: DateTime<Utc>,
    pub(crate) written: DateTime<Utc>,
}

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// No effect, and not dead.
    Lost,
    /// More than one effect.
    Doubled,
    /// Dead or alive against its order.
    WrongEnd,
    /// Not exactly one claim.
    Unclaimed,
    /// A failure was counted that was none, or not counted.
    Miscounted,
    /// A pause outside of what its failure asks for.
    WrongPause,
    /// Tried again before its pause was over.
    Early,
    /// Tried again long after its pause.
    Late,
    /// Still somewhere, although nothing is to be done.
    LeftOver,
}

/// What the comparison came to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How many messages the broker has accepted.
    pub messages: usize,
    /// How often one of them waited for another try.
    pub waits: usize,
    /// How many are dead because they were in flight whenever somebody was killed.
    pub suspects: usize,
    faults: BTreeMap<Fault, Vec<String>>,
}

impl Report {
    /// Whether everything is as it should be.
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// How often `fault` was found.
    pub fn count(&self, fault: Fault) -> usize {
        self.faults.get(&fault).map_or(0, Vec::len)
    }

    fn add(&mut self, fault: Fault, what: String) {
        self.faults.entry(fault).or_default().push(what);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            messages,
            waits,
            suspects,
            ..
        } = self;
        write!(f, "{messages} messages, {waits} waits, {suspects} suspects")?;
        for (fault, found) in &self.faults {
            write!(f, "\n{fault:?}: {}", found.len())?;
            for what in found.iter().take(EXAMPLES) {
                write!(f, "\n  {what}")?;
            }
        }
        Ok(())
    }
}

/// What is known of one order.
#[derive(Debug, Default)]
struct Trace<'a> {
    /// The tries that wrote an effect.
    effects: Vec<u32>,
    /// When it was tried, in order.
    tries: Vec<DateTime<Utc>>,
    waits: Vec<&'a Wait>,
    claims: usize,
    /// The reason of its dead letter.
    dead: Option<&'a str>,
    is_open: bool,
}

impl Evidence {
    /// Everything that is wrong.
    pub(crate) fn check(&self) -> Report {
        let mut report = Report {
            waits: self.waits.len(),
            ..Report::default()
        };
        let mut traces = self.traces(&mut report);
        let mut check = |order: &Order| {
            let trace = traces.remove(order.id.as_str()).unwrap_or_default();
            report.messages += 1;
            if trace.is_suspect() {
                report.suspects += 1;
            } else {
                trace.check(order, &mut report);
            }
            !trace.is_suspect()
        };
        for order in &self.orders {
            if check(order)
                && let Some(next) = order.follow_up()
            {
                check(&next);
            }
        }
        for (id, trace) in traces {
            report.add(Fault::LeftOver, format!("{id} was never ordered: {trace}"));
        }
        for what in &self.left {
            report.add(Fault::LeftOver, what.clone());
        }
        report
    }

    /// What is known, by the ids of orders. A key of which nobody knows an order goes to the report.
    fn traces<'a>(&'a self, report: &mut Report) -> HashMap<&'a str, Trace<'a>> {
        let ordered = self
            .orders
            .iter()
            .map(|order| (order.key(), order.id.as_str()));
        let tried = self
            .tries
            .iter()
            .map(|tried| (tried.key, tried.id.as_str()));
        let dead = self.dead.iter().map(|dead| (dead.key, dead.id.as_str()));
        let ids: HashMap<JobKey, &str> = ordered.chain(tried).chain(dead).collect();
        let mut traces: HashMap<&str, Trace<'a>> = HashMap::with_capacity(ids.len());
        for (id, attempt) in &self.effects {
            traces.entry(id).or_default().effects.push(*attempt);
        }
        for tried in &self.tries {
            traces.entry(&tried.id).or_default().tries.push(tried.at);
        }
        let mut of = |key: JobKey, note: &dyn Fn(&mut Trace<'a>)| match ids.get(&key) {
            Some(id) => note(traces.entry(id).or_default()),
            None => report.add(Fault::LeftOver, format!("{key} was never ordered")),
        };
        for wait in &self.waits {
            of(wait.key, &|trace| trace.waits.push(wait));
        }
        for key in &self.claims {
            of(*key, &|trace| trace.claims += 1);
        }
        for dead in &self.dead {
            of(dead.key, &|trace| trace.dead = Some(&dead.reason));
        }
        for key in &self.open {
            of(*key, &|trace| trace.is_open = true);
        }
        for trace in traces.values_mut() {
            trace.tries.sort();
            trace.waits.sort_by_key(|wait| wait.written);
        }
        traces
    }
}

impl Trace<'_> {
    fn is_suspect(&self) -> bool {
        self.dead == Some(SUSPECT) && self.effects.is_empty()
    }

    fn check(&self, order: &Order, report: &mut Report) {
        let mut add = |fault, what: &str| report.add(fault, format!("{} {what}: {self}", order.id));
        let count = self.effects.len();
        if count > 1 {
            add(Fault::Doubled, &format!("has {count} effects"));
        }
        if count == 0 && self.dead.is_none() {
            add(Fault::Lost, "has no effect");
            return;
        }
        if self.dead.is_some() != order.dies() || self.dead.is_some() && count > 0 {
            add(Fault::WrongEnd, "ended against its order");
        }
        if self.claims != 1 {
            add(Fault::Unclaimed, &format!("has {} claims", self.claims));
        }
        if self.is_open {
            add(Fault::LeftOver, "waits on");
        }
        let fitting = order.mishaps.len() + 1;
        if self
            .effects
            .iter()
            .any(|attempt| usize::try_from(*attempt) != Ok(fitting))
        {
            add(
                Fault::Miscounted,
                &format!("was to succeed in try {fitting}"),
            );
        }
        for wait in &self.waits {
            if !self.is_fitting_pause(wait, order) {
                add(Fault::WrongPause, "was given a wrong pause");
            }
            let next = self.tries.iter().find(|at| **at > wait.written);
            match next {
                Some(next) if *next < wait.due - GRAIN => add(Fault::Early, "came early"),
                Some(next) if *next > wait.due + LATEST => add(Fault::Late, "came late"),
                _ => {}
            }
        }
    }

    /// Whether the pause of `wait` is one that the rules allow.
    fn is_fitting_pause(&self, wait: &Wait, order: &Order) -> bool {
        if wait.is_snooze {
            return order.rests;
        }
        let at_most = |pause: Duration| wait.due <= wait.written + delta(pause);
        let before = self.tries.iter().rfind(|at| **at <= wait.written);
        match order.mishap(wait.attempt) {
            None | Some(Mishap::Refusal) => false,
            Some(Mishap::Error | Mishap::Panic) => at_most(BACKOFF.bound(wait.attempt)),
            Some(Mishap::Busy) => {
                at_most(BUSY) && before.is_some_and(|before| wait.due >= *before + delta(BUSY))
            }
        }
    }
}

/// Its life on one line.
impl fmt::Display for Trace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |at: &DateTime<Utc>| at.format("%H:%M:%S%.3f").to_string();
        let tries: Vec<String> = self.tries.iter().map(time).collect();
        write!(f, "tried at [{}]", tries.join(", "))?;
        for wait in &self.waits {
            let (written, due) = (time(&wait.written), time(&wait.due));
            write!(
                f,
                ", at {written} put off to {due} after {} failures",
                wait.attempt
            )?;
        }
        write!(
            f,
            ", effects by the tries {:?}, claims {}, dead {:?}, waiting {}",
            self.effects, self.claims, self.dead, self.is_open
        )
    }
}

fn delta(span: Duration) -> TimeDelta {
    TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
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
            left: Vec::new(),
            orders,
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
        let promise = |e: &mut Evidence| e.orders[0].is_followed = true;
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
            e.dead.push(dead(&e.orders[0], "unknown"));
        };
        assert_eq!(found(dies), [(Fault::WrongEnd, 1)]);
        let also_lives = |e: &mut Evidence| e.dead.push(dead(&e.orders[0], SUSPECT));
        assert_eq!(found(also_lives), [(Fault::WrongEnd, 1)]);
        let lives = |e: &mut Evidence| {
            e.effects.push((e.orders[3].id.clone(), 2));
            e.dead.clear();
        };
        assert_eq!(found(lives), [(Fault::WrongEnd, 1)]);
        assert_eq!(found(|e| e.dead.clear()), [(Fault::Lost, 1)]);
    }

    #[test]
    fn one_that_is_taken_for_a_killer_is_counted_and_not_waited_for() {
        let mut evidence = fine();
        evidence.orders[0].is_followed = true;
        evidence.effects.remove(0);
        evidence.dead.push(dead(&evidence.orders[0], SUSPECT));
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
            let wait = wait(&e.orders[0], 1, 5, 6);
            e.waits.push(wait);
        };
        assert_eq!(found(for_nothing), [(Fault::WrongPause, 1)]);
    }

    #[test]
    fn what_is_still_somewhere_is_left_over() {
        let waits = |e: &mut Evidence| e.open.push(e.orders[0].key());
        assert_eq!(found(waits), [(Fault::LeftOver, 1)]);
        let is_queued = |e: &mut Evidence| e.left.push("a message in the queue".to_owned());
        assert_eq!(found(is_queued), [(Fault::LeftOver, 1)]);
    }

    #[test]
    fn a_report_tells_the_life_of_what_went_wrong() {
        let mut evidence = fine();
        evidence.effects.push((evidence.orders[1].id.clone(), 2));
        let text = evidence.check().to_string();
        assert_eq!(
            text,
            "4 messages, 2 waits, 0 suspects\nDoubled: 1\n  t-000000 has 2 effects: tried at [02:00:00.000, \
             02:00:00.150], at 02:00:00.005 put off to 02:00:00.120 after 1 failures, effects by the \
             tries [2, 2], claims 1, dead None, waiting false"
        );
    }
}
