//! Writes a new job: its folder from the samples in `host/cli/scaffold`, and its lines in the files that list
//! jobs.
//!
//! Everything is made in memory and compared as `nightshift check` does before the first file is touched.
//! Then the files are written beside their places and moved there; if that fails in between, what was
//! moved is taken back.

mod change;
mod edits;
mod name;
mod samples;

use std::collections::BTreeMap;

use anyhow::bail;
use nightshift_bindings::function_json::{Binding, is_function_name};
use nightshift_bindings::route::RouteTemplate;
use nightshift_job::{Schedule, Timetable};
use serde_json::json;

pub(crate) use change::Change;

use crate::check::findings;
use crate::checkout::Checkout;
use crate::checkout::doors::{Door, doors};
use crate::checkout::page::{self, PAGE};
use crate::commands::cron::Refusal;
use name::Job;

/// The longest name of a queue that Service Bus allows.
const MAX_QUEUE_LENGTH: usize = 260;

/// What calls the new job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Messages of this queue.
    Queue(String),
    /// The clock, by this NCRONTAB expression; the work comes from a queue that is called like the job.
    Timer(String),
    /// HTTP requests at this route.
    Http(String),
}

/// A new job that fits into a checkout.
#[derive(Debug)]
pub(crate) struct Scaffold {
    job: Job,
    kind: Kind,
}

impl Scaffold {
    /// The job `name`, if it fits into `checkout`.
    pub(crate) fn new(checkout: &Checkout, name: &str, kind: Kind) -> anyhow::Result<Self> {
        let job = Job::parse(name)?;
        if let Some(taken) = job.taken(checkout) {
            bail!("the job cannot be called {name}: {taken} is there already");
        }
        let scaffold = Self { job, kind };
        let doors = doors(checkout);
        for function in scaffold.functions() {
            if !is_function_name(&function) || doors.iter().any(|door| door.name == function) {
                bail!("there is a function {function} already");
            }
        }
        match &scaffold.kind {
            Kind::Queue(queue) => check_queue(queue, &doors)?,
            Kind::Timer(cron) => {
                check_cron(cron)?;
                check_queue(name, &doors)?;
            }
            Kind::Http(route) => check_route(route, &doors)?,
        }
        Ok(scaffold)
    }

    /// The names of its functions.
    pub(crate) fn functions(&self) -> Vec<String> {
        let doors: &[&str] = match self.kind {
            Kind::Queue(_) => &["work"],
            Kind::Timer(_) => &["schedule", "work"],
            Kind::Http(_) => &["api"],
        };
        let names = doors.iter().map(|door| format!("{}-{door}", self.job.name));
        names.collect()
    }

    /// What is to be written, in the order of the files' names.
    pub(crate) fn changes(&self, checkout: &Checkout) -> anyhow::Result<Vec<Change>> {
        let mut pending: BTreeMap<String, String> =
            samples::files(&self.job, &self.kind).into_iter().collect();
        if let Some(there) = pending.keys().find(|file| checkout.exists(file)) {
            bail!("{there} is there already");
        }
        pending.extend(edits::all(checkout, &self.job, &self.kind)?);
        let page = page::render(&checkout.with(pending.clone()));
        pending.insert(PAGE.to_owned(), page);
        let mut new = findings(&checkout.with(pending.clone()));
        if !new.is_empty() {
            let before = findings(checkout);
            new.retain(|finding| !before.contains(finding));
        }
        if !new.is_empty() {
            let new: Vec<String> = new.iter().map(ToString::to_string).collect();
            bail!(
                "nothing was written, because this checkout is not as `nightshift new` knows it; the \
                 new job would not agree with the rest:\n{}",
                new.join("\n")
            );
        }
        let changes = pending.into_iter().map(|(file, after)| Change {
            before: checkout.text(&file),
            file,
            after,
        });
        Ok(changes.collect())
    }

    /// What to do then.
    pub(crate) fn next_steps(&self) -> [String; 3] {
        let name = &self.job.name;
        let folder = format!("functions/{name}/src");
        let first = match self.kind {
            Kind::Http(_) => format!("say in {folder}/lib.rs what it answers"),
            Kind::Queue(_) => format!(
                "say in shared/contract/src/{}.rs what a message holds and in {folder}/lib.rs what becomes of it",
                self.job.module
            ),
            Kind::Timer(_) => format!("say in {folder}/work.rs what is done at a tick"),
        };
        let functions = self.functions();
        let called = functions.last().map_or("", String::as_str);
        [
            first,
            format!(
                "test it: nightshift servers exec --with postgres -- cargo test -p nightshift-{name}"
            ),
            format!("make run, and in another terminal: nightshift invoke {called}"),
        ]
    }
}

fn check_queue(queue: &str, doors: &[Door]) -> anyhow::Result<()> {
    let is_allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.')
    };
    let is_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let ends = is_end(queue.bytes().next()) && is_end(queue.bytes().last());
    if !ends || !queue.bytes().all(is_allowed) || queue.len() > MAX_QUEUE_LENGTH {
        bail!(
            "{queue:?} is no name for a queue: lower-case letters, digits, dots, dashes and underscores, \
             with a letter or a digit at its ends, at most {MAX_QUEUE_LENGTH}"
        );
    }
    match doors.iter().find(|door| door.queue() == Some(queue)) {
        Some(door) => bail!(
            "the queue {queue} is read by {} already; each function has a queue of its own",
            door.name
        ),
        None => Ok(()),
    }
}

fn check_cron(cron: &str) -> anyhow::Result<()> {
    let default = Schedule::DEFAULT;
    let definition = json!({
        "cron": cron,
        "zone": default.zone,
        "overlap": default.overlap,
        "missed": default.missed,
        "catch_up_seconds": default.catch_up.as_secs(),
        "jitter_seconds": default.jitter.as_secs(),
    });
    if let Err(error) = cron.parse::<nightshift_time::ncrontab::Schedule>() {
        bail!("{}", Refusal::of_schedule(&error, cron).text.trim_end());
    }
    match Timetable::from_json(&definition.to_string()) {
        Ok(_) => Ok(()),
        Err(error) => {
            let error = error.to_string();
            let error = error.trim_start_matches("the stored schedule cannot be read: ");
            bail!("not a schedule: {error}")
        }
    }
}

fn check_route(route: &str, doors: &[Door]) -> anyhow::Result<()> {
    RouteTemplate::parse(route)
        .map_err(|error| anyhow::Error::new(error).context(format!("{route:?} is no route")))?;
    if route.contains(['"', '\\', '%']) || route.chars().any(char::is_control) {
        bail!("{route:?} is no route: it has a quote, a backslash, a percent sign or worse");
    }
    let first = route.split('/').next().unwrap_or_default();
    if ["admin", "ops"].contains(&first.to_lowercase().as_str()) {
        bail!(
            "the route {route} begins with {first}: the hosts keep admin for themselves, and admin-api \
             has ops"
        );
    }
    let same = doors.iter().find(|door| match door.trigger() {
        Some(Binding::HttpTrigger(trigger)) => {
            let theirs = trigger.route.as_deref().unwrap_or(&door.name);
            theirs.eq_ignore_ascii_case(route)
        }
        _ => false,
    });
    match same {
        Some(door) => bail!("the route {route} is that of {} already", door.name),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
