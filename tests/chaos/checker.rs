//! Compares what was ordered with what has become of it.
//!
//! Plain code over plain data, so that it can be shown to see what it looks for: its tests below forge
//! the evidence, and `tests/it/kill_matrix.rs` takes away what keeps messages from being lost and
//! doubled.

mod shapes;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_job::JobKey;

use super::function::Try;
use super::order::{BACKOFF, BUSY, KILLER, Mishap, Order};

pub(crate) use shapes::Shapes;

/// How far the broker's clock reading, in milliseconds, may be before the instant that it was given.
const GRAIN: TimeDelta = TimeDelta::milliseconds(1);

/// How late a message may be tried again when whoever should have sent, fetched or run it was killed: what
/// a dead process has promised is sent after 10 s, or 30 or 70 if those who do so are killed, too; and a
/// lock lasts 5 s. Before the two minutes after which a lost copy would be replaced: none may be lost.
const LATEST: TimeDelta = TimeDelta::seconds(100);

/// How often a message is run that ends its process: in two deliveries, in each of them with its company,
/// which may fail before it, and after that alone; and then twice by itself.
const MOST_RUNS: usize = 6;

/// How many examples of each fault are told.
const EXAMPLES: usize = 5;

/// All that is known after the load, when nothing moves any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    pub(crate) ordered: Ordered,
    /// Order and try of every effect.
    pub(crate) effects: Vec<(String, u32)>,
    pub(crate) tries: Vec<Try>,
    pub(crate) waits: Vec<Wait>,
    /// The keys in the inbox.
    pub(crate) claims: Vec<JobKey>,
    pub(crate) dead: Vec<Dead>,
    /// The keys of messages that wait.
    pub(crate) open: Vec<JobKey>,
    pub(crate) shapes: Shapes,
    /// Whatever else is still somewhere, in words.
    pub(crate) left: Vec<String>,
}

/// What the broker has accepted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ordered {
    pub(crate) orders: Vec<Order>,
    pub(crate) calls: Vec<Order>,
    pub(crate) runs: Vec<Order>,
    /// They take turns with the sessions.
    pub(crate) in_sessions: Vec<Order>,
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
    /// A failure was counted that was none, or not counted; or a message has ended too many processes.
    Miscounted,
    /// A pause outside of what its failure asks for.
    WrongPause,
    /// Done before an earlier one of its session.
    OutOfOrder,
    /// Written by a process whose run another one had.
    Zombie,
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
    /// How many messages were in sessions.
    pub in_sessions: usize,
    /// How many calls were made of another system.
    pub calls: usize,
    /// Of how many of them nobody knew the end.
    pub asked: usize,
    /// How many runs there were.
    pub runs: usize,
    /// At how many of them more than one process was.
    pub taken_over: usize,
    /// How many ticks were due.
    pub ticks: usize,
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
            in_sessions,
            calls,
            asked,
            runs,
            taken_over,
            ticks,
            ..
        } = self;
        write!(
            f,
            "{messages} messages, {waits} waits, {suspects} suspects, {in_sessions} in sessions, {calls} calls ({asked} uncertain), {runs} runs ({taken_over} taken over), {ticks} ticks"
        )?;
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
            let is_innocent = trace.is_suspect() && !order.kills();
            if is_innocent {
                report.suspects += 1;
            } else {
                trace.check(order, &mut report);
            }
            !is_innocent
        };
        for order in &self.ordered.orders {
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
        self.shapes.check(&self.ordered, &mut report);
        report
    }

    /// What is known, by the ids of orders. A key of which nobody knows an order goes to the report.
    fn traces<'a>(&'a self, report: &mut Report) -> HashMap<&'a str, Trace<'a>> {
        let orders = self.ordered.orders.iter();
        let ordered = orders.map(|order| (order.key(), order.id.as_str()));
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
    /// Whether it is taken for what ends its processes. Kills at any moment make that of an innocent one,
    /// too, if it meets five of them in a row.
    fn is_suspect(&self) -> bool {
        self.dead == Some(KILLER) && self.effects.is_empty()
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
        if self.dead != order.death() || self.dead.is_some() && count > 0 {
            add(Fault::WrongEnd, "ended against its order");
        }
        if order.kills() && self.tries.len() > MOST_RUNS {
            add(Fault::Miscounted, "has ended too many processes");
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
            None | Some(Mishap::Refusal | Mishap::Abort | Mishap::Overflow | Mishap::Hoard) => {
                false
            }
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
mod tests;
