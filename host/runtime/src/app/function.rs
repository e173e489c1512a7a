//! The functions of an app: one folder each, directly in the app root.

use std::fs;
use std::path::Path;

use nightshift_bindings::function_json::{
    Cardinality, DataType, EntityPath, FunctionJson, ServiceBusTrigger, is_function_name,
};
use nightshift_bindings::host_json::HostJson;
use nightshift_bindings::substitution::resolve_names;
use nightshift_bus::{ConnectionString, SubQueue};

use super::lookup::Lookup;
use super::{connection, read_text};

/// How the dead-letter queue of a queue is named in `queueName`.
const DEAD_LETTER_SUFFIX: &str = "/$DeadLetterQueue";

/// A function that can run.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    /// The folder's name.
    pub(crate) name: String,
    /// The trigger binding's name.
    pub(crate) binding: String,
    pub(crate) connection: ConnectionString,
    pub(crate) queue: String,
    pub(crate) sub_queue: Option<SubQueue>,
    pub(crate) cardinality: Cardinality,
    pub(crate) data_type: DataType,
    /// Whether the messages of a successful invocation are completed.
    pub(crate) auto_complete: bool,
}

/// Reads every enabled function of the app, in alphabetical order.
pub(super) fn read_all(
    app_root: &Path,
    host_json: &HostJson,
    lookup: &Lookup,
    problems: &mut Vec<String>,
) -> Vec<Function> {
    let names = match folder_names(app_root) {
        Ok(names) => names,
        Err(error) => {
            problems.push(format!("{}: cannot be read: {error}", app_root.display()));
            return Vec::new();
        }
    };
    let wanted = |name: &str| {
        let listed = |other: &String| other.eq_ignore_ascii_case(name);
        host_json.functions.is_empty() || host_json.functions.iter().any(listed)
    };
    for listed in &host_json.functions {
        if !names.iter().any(|name| name.eq_ignore_ascii_case(listed)) {
            let file = app_root.join("host.json");
            problems.push(format!(
                "{}: functions: there is no function {listed}",
                file.display()
            ));
        }
    }
    let mut functions = Vec::new();
    for name in names
        .iter()
        .filter(|name| wanted(name) && !is_disabled(name, lookup))
    {
        match read_one(app_root, name, host_json, lookup) {
            Ok(function) => functions.push(function),
            Err(found) => problems.extend(found),
        }
    }
    functions
}

/// The folders that hold a `function.json`.
fn folder_names(app_root: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(app_root)? {
        let entry = entry?;
        if entry.path().join("function.json").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn is_disabled(name: &str, lookup: &Lookup) -> bool {
    lookup.is_true(&format!("AzureWebJobs.{name}.Disabled"))
        || lookup.is_true(&format!("AzureWebJobs_{name}_Disabled"))
}

fn read_one(
    app_root: &Path,
    name: &str,
    host_json: &HostJson,
    lookup: &Lookup,
) -> Result<Function, Vec<String>> {
    let file = app_root.join(name).join("function.json");
    let at = |what: String| vec![format!("{}: {what}", file.display())];
    if !is_function_name(name) {
        let what = "the folder's name is no function name: write a letter, then letters, digits, \
                    _ and - (128 at most, not \"host\")";
        return Err(at(what.to_owned()));
    }
    let text = read_text(&file).map_err(|problem| vec![problem])?;
    let lines = |found: &[nightshift_bindings::problem::ConfigProblem]| {
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let read = FunctionJson::parse(&file, &text).map_err(|found| lines(&found.0))?;
    if !read.unsupported.is_empty() {
        return Err(lines(&read.unsupported));
    }
    let Some(trigger) = read.service_bus_trigger() else {
        return Err(at("has no trigger that this host knows".to_owned()));
    };
    resolve(name, trigger, host_json, lookup)
        .map_err(|found| found.into_iter().flat_map(at).collect())
}

/// Replaces the names in a trigger by what the settings say.
fn resolve(
    name: &str,
    trigger: &ServiceBusTrigger,
    host_json: &HostJson,
    lookup: &Lookup,
) -> Result<Function, Vec<String>> {
    let mut problems = Vec::new();
    let queue = match &trigger.entity {
        EntityPath::Queue(queue) => resolve_names(queue, |name| lookup.value(name))
            .map_err(|error| problems.push(format!("queueName: {error}"))),
        // Refused before by name.
        EntityPath::Subscription { .. } => Err(()),
    };
    let connection = connection::resolve(&trigger.connection, lookup)
        .map_err(|error| problems.push(format!("connection: {error}")));
    let (Ok(queue), Ok(connection)) = (queue, connection) else {
        return Err(problems);
    };
    let (queue, sub_queue) = split_sub_queue(&queue);
    Ok(Function {
        name: name.to_owned(),
        binding: trigger.name.clone(),
        connection,
        queue: queue.to_owned(),
        sub_queue,
        cardinality: trigger.cardinality,
        data_type: trigger.data_type,
        auto_complete: trigger
            .auto_complete
            .unwrap_or(host_json.service_bus.auto_complete_messages),
    })
}

fn split_sub_queue(queue: &str) -> (&str, Option<SubQueue>) {
    let split = queue.len().saturating_sub(DEAD_LETTER_SUFFIX.len());
    match (queue.get(..split), queue.get(split..)) {
        (Some(name), Some(suffix)) if suffix.eq_ignore_ascii_case(DEAD_LETTER_SUFFIX) => {
            (name, Some(SubQueue::DeadLetter))
        }
        _ => (queue, None),
    }
}
