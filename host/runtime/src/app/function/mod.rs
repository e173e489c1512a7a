//! The functions of an app: one folder each, directly in the app root.

mod handler_routes;
mod http;
mod output;
mod service_bus;
mod timer;

use std::fs;
use std::path::Path;

use nightshift_bindings::function_json::{Binding, FunctionJson, is_function_name};
use nightshift_bindings::host_json::HostJson;
use nightshift_bindings::problem::ConfigProblem;

use super::read_text;
pub(crate) use http::HttpFunction;
use nightshift_settings::Lookup;
pub(crate) use output::{ServiceBusOutput, ServiceBusOutputs};
pub(crate) use service_bus::ServiceBusFunction;
pub(crate) use timer::TimerFunction;

/// A function that can run.
#[derive(Debug, Clone)]
pub(crate) enum Function {
    /// Triggered by messages.
    ServiceBus(ServiceBusFunction),
    /// Triggered by requests.
    Http(HttpFunction),
    /// Triggered by the clock.
    Timer(TimerFunction),
}

impl Function {
    /// The folder's name.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::ServiceBus(function) => &function.name,
            Self::Http(function) => &function.name,
            Self::Timer(function) => &function.name,
        }
    }
}

/// Reads every enabled function of the app, in alphabetical order.
pub(super) fn read_all(
    app_root: &Path,
    host_json: &HostJson,
    lookup: &Lookup,
    problems: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Vec<Function> {
    let names = match folder_names(app_root) {
        Ok(names) => names,
        Err(error) => {
            problems.push(format!("{}: cannot be read: {error}", app_root.display()));
            return Vec::new();
        }
    };
    let (routes, wrong) = handler_routes::read(app_root, host_json, lookup, &names);
    problems.extend(wrong);
    let mut known: Vec<&str> = names.iter().map(String::as_str).collect();
    known.extend(routes.iter().map(|(function, _)| function.name()));
    problems.extend(unknown_names(app_root, host_json, &known));
    let is_wanted = |name: &str| {
        let listed = |other: &String| other.eq_ignore_ascii_case(name);
        let is_listed = host_json.functions.is_empty() || host_json.functions.iter().any(listed);
        is_listed && !is_disabled(name, lookup)
    };
    let mut functions = Vec::new();
    for name in names.iter().filter(|name| is_wanted(name)) {
        match read_one(app_root, name, host_json, lookup) {
            Ok(read) => {
                warnings.extend(idle_retry(&read));
                functions.push(read);
            }
            Err(found) => problems.extend(found),
        }
    }
    let routes = routes.into_iter();
    functions.extend(routes.filter(|(function, _)| is_wanted(function.name())));
    problems.extend(http::shared_routes(&functions));
    functions
        .into_iter()
        .map(|(function, _)| function)
        .collect()
}

/// What `functions` of `host.json` names and nobody knows.
fn unknown_names<'a>(
    app_root: &Path,
    host_json: &'a HostJson,
    known: &[&str],
) -> impl Iterator<Item = String> + use<'a> {
    let file = app_root.join("host.json");
    let known: Vec<String> = known.iter().map(|name| name.to_lowercase()).collect();
    let listed = host_json.functions.iter();
    let unknown = listed.filter(move |listed| !known.contains(&listed.to_lowercase()));
    unknown.map(move |listed| {
        format!(
            "{}: functions: there is no function {listed}",
            file.display()
        )
    })
}

/// A warning about a policy that is not applied.
fn idle_retry((function, file): &ReadFunction) -> Option<String> {
    if file.retry.is_none() || matches!(function, Function::Timer(_)) {
        return None;
    }
    let what = "is applied to timers only: the broker delivers a failed message again, and whoever \
                made a request may repeat it";
    Some(file.problem("retry", what).to_string())
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

/// What a function is made of besides its trigger.
struct Context<'a> {
    name: &'a str,
    file: &'a FunctionJson,
    outputs: ServiceBusOutputs,
    host_json: &'a HostJson,
    lookup: &'a Lookup,
}

/// A function with the file that it was read from, in which more problems may be found.
type ReadFunction = (Function, FunctionJson);

fn read_one(
    app_root: &Path,
    name: &str,
    host_json: &HostJson,
    lookup: &Lookup,
) -> Result<ReadFunction, Vec<String>> {
    let file = app_root.join(name).join("function.json");
    let at = |what: String| vec![format!("{}: {what}", file.display())];
    if !is_function_name(name) {
        let what = "the folder's name is no function name: write a letter, then letters, digits, \
                    _ and - (128 at most, not \"host\")";
        return Err(at(what.to_owned()));
    }
    let text = read_text(&file).map_err(|problem| vec![problem])?;
    let lines = |found: &[ConfigProblem]| found.iter().map(ToString::to_string).collect::<Vec<_>>();
    let read = FunctionJson::parse(&file, &text).map_err(|found| lines(&found.0))?;
    if !read.unsupported.is_empty() {
        return Err(lines(&read.unsupported));
    }
    let outputs = output::resolve(&read, lookup);
    let context = Context {
        name,
        file: &read,
        outputs: outputs.clone().unwrap_or_default(),
        host_json,
        lookup,
    };
    let function = match read.trigger() {
        Some(Binding::ServiceBusTrigger(trigger)) => {
            service_bus::resolve(context, trigger).map(Function::ServiceBus)
        }
        Some(Binding::HttpTrigger(trigger)) => http::resolve(context, trigger).map(Function::Http),
        Some(Binding::TimerTrigger(trigger)) => {
            timer::resolve(context, trigger).map(Function::Timer)
        }
        _ => return Err(at("has no trigger that this host knows".to_owned())),
    };
    match (function, outputs) {
        (Ok(function), Ok(_)) => Ok((function, read)),
        (function, outputs) => {
            let found = function.err().into_iter().chain(outputs.err());
            Err(lines(&found.flatten().collect::<Vec<_>>()))
        }
    }
}
