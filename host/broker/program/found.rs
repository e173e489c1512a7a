//! The queues that an app's functions name: what a broker for that app has to serve.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use nightshift_bindings::function_json::{Binding, EntityPath, FunctionJson};
use nightshift_bindings::layout;
use nightshift_bindings::substitution::resolve_names;
use nightshift_settings::Source;

/// How the dead letters of a queue are named; they come with the queue.
const DEAD_LETTERS: &str = "/$deadletterqueue";

/// A queue that functions name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its name, as the first function spells it.
    pub(crate) name: String,
    /// Whether the functions that it triggers want sessions.
    pub(crate) has_sessions: bool,
}

/// What functions ask a broker for.
#[derive(Debug, Default)]
pub(crate) struct Entities {
    /// By name in lower case, with the first function that says whether it has sessions.
    queues: BTreeMap<String, (Found, Option<String>)>,
    /// Topics, which the broker does not serve.
    pub(crate) topics: Vec<String>,
}

impl Entities {
    /// Reads the functions of the app at `root`; `%NAME%` stands for the setting in `source`.
    pub(crate) fn of_app(root: &Path, source: &dyn Source) -> anyhow::Result<Self> {
        let mut entities = Self::default();
        for (function, file) in layout::functions(root)? {
            entities
                .read(&function, &file, source)
                .with_context(|| format!("cannot read the queues of the function {function}"))?;
        }
        Ok(entities)
    }

    /// The queues, sorted by name.
    pub(crate) fn into_queues(self) -> impl Iterator<Item = Found> {
        self.queues.into_values().map(|(queue, _)| queue)
    }

    fn read(&mut self, function: &str, file: &Path, source: &dyn Source) -> anyhow::Result<()> {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let resolve = |name: &str| {
            resolve_names(name, |setting| source.get(setting))
                .with_context(|| format!("{}: {name}", file.display()))
        };
        for binding in FunctionJson::parse(file, &text)?.bindings {
            match binding {
                Binding::ServiceBusTrigger(trigger) => match trigger.entity {
                    EntityPath::Queue(queue) => {
                        let queue = resolve(&queue)?;
                        self.add_trigger(&queue, trigger.is_sessions_enabled, function)?;
                    }
                    EntityPath::Subscription { topic, .. } => self.topics.push(resolve(&topic)?),
                },
                Binding::ServiceBusOutput(output) if output.entity_key == "topicName" => {
                    self.topics.push(resolve(&output.entity)?);
                }
                Binding::ServiceBusOutput(output) => {
                    self.queue(&resolve(&output.entity)?);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn add_trigger(&mut self, queue: &str, sessions: bool, function: &str) -> anyhow::Result<()> {
        let lower = queue.to_lowercase();
        if let Some(queue) = lower.strip_suffix(DEAD_LETTERS) {
            // Dead letters are read without sessions, whatever the queue is.
            self.queue(queue);
            return Ok(());
        }
        let (found, said_by) = self.queue(queue);
        match said_by {
            Some(other) if found.has_sessions != sessions => bail!(
                "{function} and {other} do not agree whether the queue {queue} has sessions: \
                 isSessionsEnabled is true in one of them only"
            ),
            Some(_) => {}
            None => {
                found.has_sessions = sessions;
                *said_by = Some(function.to_owned());
            }
        }
        Ok(())
    }

    fn queue(&mut self, name: &str) -> &mut (Found, Option<String>) {
        let found = || Found {
            name: name.to_owned(),
            has_sessions: false,
        };
        let entry = self.queues.entry(name.to_lowercase());
        entry.or_insert_with(|| (found(), None))
    }
}

#[cfg(test)]
mod tests {
    use nightshift_settings::MapSource;
    use tempfile::TempDir;

    use super::*;

    fn app(functions: &[(&str, &str)]) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, bindings) in functions {
            let folder = root.path().join(name);
            fs::create_dir_all(&folder).unwrap();
            let text = format!(r#"{{"bindings": [{bindings}]}}"#);
            fs::write(folder.join("function.json"), text).unwrap();
        }
        root
    }

    fn trigger(queue: &str, more: &str) -> String {
        format!(
            r#"{{"type": "serviceBusTrigger", "direction": "in", "name": "m", "queueName": "{queue}"{more}}}"#
        )
    }

    fn of(root: &TempDir) -> anyhow::Result<Entities> {
        let source: MapSource = [("QUEUE".to_owned(), "Orders".to_owned())]
            .into_iter()
            .collect();
        Entities::of_app(root.path(), &source)
    }

    #[test]
    fn triggers_and_outputs_name_queues() {
        let output =
            r#"{"type": "serviceBus", "direction": "out", "name": "o", "queueName": "mail"}"#;
        let root = app(&[
            ("a", &format!("{}, {output}", trigger("%QUEUE%", ""))),
            ("b", &trigger("orders/$DeadLetterQueue", "")),
            ("c", &trigger("steps", r#", "isSessionsEnabled": true"#)),
        ]);
        let queues: Vec<(String, bool)> = of(&root)
            .unwrap()
            .into_queues()
            .map(|queue| (queue.name, queue.has_sessions))
            .collect();
        let expected = [("mail", false), ("Orders", false), ("steps", true)];
        assert_eq!(
            queues,
            expected.map(|(name, sessions)| (name.to_owned(), sessions))
        );
    }

    #[test]
    fn the_source_tree_is_an_app_too() {
        let root = app(&[("functions/orders/work", &trigger("orders", ""))]);
        let names: Vec<String> = of(&root).unwrap().into_queues().map(|q| q.name).collect();
        assert_eq!(names, ["orders"]);
    }

    #[test]
    fn what_cannot_be_known_is_said_with_its_function() {
        let unset = format!(
            "{:#}",
            of(&app(&[("a", &trigger("%NOPE%", ""))])).unwrap_err()
        );
        assert!(
            unset.contains("function a") && unset.contains("set NOPE"),
            "{unset}"
        );
        let sessions = r#", "isSessionsEnabled": true"#;
        let torn = app(&[("a", &trigger("q", "")), ("b", &trigger("Q", sessions))]);
        let torn = format!("{:#}", of(&torn).unwrap_err());
        assert!(torn.contains("b and a do not agree"), "{torn}");
    }
}
