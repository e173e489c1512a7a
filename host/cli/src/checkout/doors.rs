//! The doors: every `functions/<job>/<door>/function.json`.

use std::path::Path;

use nightshift_bindings::function_json::{Binding, EntityPath, FunctionJson};
use nightshift_bindings::problem::{ConfigProblem, ConfigProblems, Place};

use super::{Checkout, JOBS};

/// One door.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    pub(crate) job: String,
    /// The function's name, `<job>-<door>`.
    pub(crate) name: String,
    /// Its `function.json`, below the checkout's root.
    pub(crate) file: String,
    pub(crate) text: String,
    pub(crate) config: Result<FunctionJson, ConfigProblems>,
}

impl Door {
    /// The queue that it reads.
    pub(crate) fn queue(&self) -> Option<&str> {
        match &self.config.as_ref().ok()?.service_bus_trigger()?.entity {
            EntityPath::Queue(queue) => Some(queue),
            EntityPath::Subscription { .. } => None,
        }
    }

    /// Its trigger.
    pub(crate) fn trigger(&self) -> Option<&Binding> {
        self.config.as_ref().ok()?.trigger()
    }

    /// The line of the trigger's member `key`.
    pub(crate) fn line(&self, key: &str) -> Option<usize> {
        let problem = self.config.as_ref().ok()?.trigger_problem(key, "");
        line(&problem)
    }

    /// Whether its trigger has the member `key`.
    pub(crate) fn has(&self, key: &str) -> bool {
        // The places are on different lines or columns when there is such a member.
        let Ok(config) = &self.config else {
            return false;
        };
        let (whole, member) = (
            config.trigger_problem("\u{0}", ""),
            config.trigger_problem(key, ""),
        );
        whole.place != member.place
    }
}

/// The line of a problem.
pub(crate) fn line(problem: &ConfigProblem) -> Option<usize> {
    match problem.place {
        Place::Text { line, .. } => Some(line),
        _ => None,
    }
}

/// Every door of `checkout`, sorted by name.
pub(crate) fn doors(checkout: &Checkout) -> Vec<Door> {
    let mut doors = Vec::new();
    for job in checkout.folders(JOBS) {
        for door in checkout.folders(&format!("{JOBS}/{job}")) {
            let file = format!("{JOBS}/{job}/{door}/function.json");
            let Some(text) = checkout.text(&file) else {
                continue;
            };
            doors.push(Door {
                name: format!("{job}-{door}"),
                config: FunctionJson::parse(Path::new(&file), &text),
                job: job.clone(),
                file,
                text,
            });
        }
    }
    doors.sort_by(|one, other| one.name.cmp(&other.name));
    doors
}
