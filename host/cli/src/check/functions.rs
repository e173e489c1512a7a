//! Doors, the functions in the sources, and the list of them.

use nightshift_bindings::function_json::Binding;
use nightshift_bindings::route::RouteTemplate;
use nightshift_job::Timetable;
use nightshift_job::{MAX_NAME_LENGTH, Schedule};
use nightshift_settings::did_you_mean;
use serde_json::json;

use super::{Finding, at};
use crate::checkout::declared::{Declared, declared, krate};
use crate::checkout::doors::{self, Door, doors};
use crate::checkout::listed::Listed;
use crate::checkout::{Checkout, REGISTRY};
use crate::commands::settings::BUS;

pub(super) fn compare(checkout: &Checkout, all: &mut Vec<Finding>) {
    let doors = doors(checkout);
    let functions = declared(checkout);
    for door in &doors {
        rules(door, all);
        sample(checkout, door, all);
        owner(door, &functions, all);
    }
    for function in &functions {
        constants(function, &doors, all);
    }
    list(checkout, &functions, all);
}

/// What every `function.json` has to say.
fn rules(door: &Door, all: &mut Vec<Finding>) {
    let Door { file, name, .. } = door;
    match &door.config {
        Ok(config) => {
            for problem in &config.unsupported {
                let found = format!("{}: {}", problem.path, problem.what);
                let found = at(file, doors::line(problem), found);
                all.push(
                    found
                        .expected("a binding that the host knows")
                        .mend("remove it"),
                );
            }
        }
        Err(problems) => {
            for problem in &problems.0 {
                let found = format!("{}: {}", problem.path, problem.what);
                let found = at(file, doors::line(problem), found);
                all.push(found.expected("a function.json").mend("correct it"));
            }
        }
    }
    match door.trigger() {
        Some(Binding::ServiceBusTrigger(trigger)) => {
            let mut demand = |key: &str, is_right: bool, expected: &str, why: &str| {
                if !is_right {
                    let found = if door.has(key) {
                        format!("another {key}")
                    } else {
                        format!("no {key}")
                    };
                    let found = at(file, door.line(key), format!("{name} has {found}"));
                    all.push(
                        found
                            .expected(expected)
                            .mend(format!("write it, because {why}")),
                    );
                }
            };
            let is_binary =
                trigger.data_type == nightshift_bindings::function_json::DataType::Binary;
            let why = "the real host decodes other bodies lossily";
            demand("dataType", is_binary, "\"dataType\": \"binary\"", why);
            let why = "hosts have different defaults";
            let expected = "\"cardinality\": \"one\" or \"many\"";
            demand("cardinality", door.has("cardinality"), expected, why);
            let is_ours = trigger.connection == BUS;
            let expected = format!("\"connection\": \"{BUS}\"");
            let why = "the handler sends its copies there";
            demand("connection", is_ours, &expected, why);
            let is_plain = door.queue().is_some_and(|name| !name.contains(['%', '/']));
            let why = "the handler knows queues only";
            demand("queueName", is_plain, "a queue by its plain name", why);
        }
        Some(Binding::HttpTrigger(trigger)) => {
            let bindings = door
                .config
                .as_ref()
                .map_or(0, |config| config.bindings.len());
            if bindings != 2 {
                let found = format!("{name} has {bindings} bindings");
                let found = at(file, None, found).expected("an httpTrigger and an http output");
                all.push(
                    found.mend("requests are forwarded only to functions with just these two"),
                );
            }
            let route = trigger.route.as_deref().unwrap_or(name);
            if let Err(error) = RouteTemplate::parse(route) {
                let found = at(file, door.line("route"), error.to_string());
                all.push(found.expected("a route").mend("correct it"));
            }
            let first = route.split('/').next().unwrap_or_default();
            if first.eq_ignore_ascii_case("admin") {
                let found = at(file, door.line("route"), format!("the route {route}"));
                let found = found.expected("a route that does not begin with admin");
                all.push(found.mend("take another one: the hosts keep these for themselves"));
            }
        }
        _ => {}
    }
}

/// Functions that messages call have a message to be tried out with.
fn sample(checkout: &Checkout, door: &Door, all: &mut Vec<Finding>) {
    let file = door.file.replace("function.json", "sample.json");
    let text = checkout.text(&file);
    let is_by_message = matches!(door.trigger(), Some(Binding::ServiceBusTrigger(_)));
    match text.map(|text| serde_json::from_str::<serde_json::Value>(&text)) {
        None if is_by_message => {
            let found = at(&file, None, format!("{} has no sample", door.name));
            let found = found.expected("the body of a message");
            all.push(found.mend("write one: `nightshift invoke` sends it"));
        }
        Some(Err(error)) => {
            let line = error.line();
            let found = at(&file, line, format!("not JSON: {error}"));
            all.push(found.expected("the body of a message").mend("correct it"));
        }
        _ => {}
    }
}

/// Each door has one function in its job's sources.
fn owner(door: &Door, functions: &[Declared], all: &mut Vec<Finding>) {
    let is_its = |function: &&Declared| {
        let name = function.name.as_ref();
        name.is_some_and(|name| name.text == door.name)
    };
    let mut owners = functions.iter().filter(is_its);
    let Some(_) = owners.next() else {
        let names = names(functions);
        let found = format!("the function {} is in no source", door.name);
        let names = names.iter().map(String::as_str);
        let near = did_you_mean(&door.name, names);
        let found = at(&door.file, None, found);
        let found = found.expected(format!("a function with NAME = {:?}{near}", door.name));
        all.push(found.mend("rename the folder or the NAME, or write the function"));
        return;
    };
    for other in owners {
        let found = at(&other.file, other.line, format!("another {}", door.name));
        let found = found.expected("one function of each name");
        all.push(found.mend("give it a name and a door of its own"));
    }
}

fn names(functions: &[Declared]) -> Vec<String> {
    let names = functions
        .iter()
        .filter_map(|function| function.name.as_ref());
    names.map(|name| name.text.clone()).collect()
}

/// The constants of one function against its door.
fn constants(function: &Declared, doors: &[Door], all: &mut Vec<Finding>) {
    let file = &function.file;
    let Some(name) = &function.name else {
        let found = format!("{} has a NAME that is no literal", function.title());
        let found = at(file, function.line, found).expected("a literal");
        all.push(found.mend("write it, so that it can be compared"));
        return;
    };
    let Some(door) = doors.iter().find(|door| door.name == name.text) else {
        let known = doors.iter().map(|door| door.name.as_str());
        let near = did_you_mean(&name.text, known);
        let found = at(file, name.line, format!("NAME is {:?}", name.text));
        let found = found.expected(format!("the name of a folder functions/<job>/<door>{near}"));
        all.push(found.mend("rename the folder or the NAME"));
        return;
    };
    let line = function.config.as_ref().map(|config| config.line);
    match function.config_file() {
        Some(found) if found == door.file => {}
        found => {
            let found = found.unwrap_or_else(|| "no literal".to_owned());
            let found = at(
                file,
                line.unwrap_or(function.line),
                format!("CONFIG is {found}"),
            );
            let found = found.expected(&door.file);
            all.push(found.mend("let its include_str! name that file"));
        }
    }
    shape(function, door, all);
    if function.method == "with_schedule" {
        schedule(function, door, all);
    }
}

/// A function's shape fits its trigger.
fn shape(function: &Declared, door: &Door, all: &mut Vec<Finding>) {
    let expected = match (door.trigger(), function.method) {
        (Some(Binding::TimerTrigger(_)), method) if method != "with_schedule" => "timerTrigger",
        (Some(Binding::HttpTrigger(_)), method) if method != "with_http" => "httpTrigger",
        (Some(Binding::ServiceBusTrigger(_)), "with_schedule" | "with_http") => "serviceBusTrigger",
        _ => return,
    };
    let found = format!(
        "{} is a function of the shape {}",
        door.name, function.shape
    );
    let found = at(&function.file, function.line, found);
    let found = found.expected(format!("one that its {expected} can call"));
    all.push(found.mend(format!("change the shape, or the trigger in {}", door.file)));
}

/// The wake-up of a timer is that of its schedule.
fn schedule(function: &Declared, door: &Door, all: &mut Vec<Finding>) {
    if door.name.len() > MAX_NAME_LENGTH {
        let found = format!(
            "the name of {} has {} characters",
            door.name,
            door.name.len()
        );
        let found = at(&door.file, None, found);
        let found = found.expected(format!("at most {MAX_NAME_LENGTH}"));
        all.push(found.mend("the names of its ticks would be too long for Service Bus"));
    }
    let Some(Binding::TimerTrigger(trigger)) = door.trigger() else {
        return;
    };
    let default = Schedule::DEFAULT;
    let cron = function.cron.as_ref();
    let zone = function.zone.as_ref();
    let definition = json!({
        "cron": cron.map_or(default.cron, |cron| cron.text.as_str()),
        "zone": zone.map_or(default.zone, |zone| zone.text.as_str()),
        "overlap": default.overlap,
        "missed": default.missed,
        "catch_up_seconds": default.catch_up.as_secs(),
        "jitter_seconds": default.jitter.as_secs(),
    });
    let line = cron.or(zone).map_or(function.line, |found| found.line);
    match Timetable::from_json(&definition.to_string()) {
        Ok(timetable) => {
            let wake_up = timetable.wake_up();
            if wake_up != trigger.schedule {
                let found = format!("\"schedule\": {:?}", trigger.schedule);
                let found = at(&door.file, door.line("schedule"), found);
                let found = found.expected(format!("\"schedule\": {wake_up:?}"));
                let of = format!("{}:{line} says when it runs, here in UTC", function.file);
                all.push(found.mend(of));
            }
        }
        Err(error) => {
            let error = error.to_string();
            let error = error.trim_start_matches("the stored schedule cannot be read: ");
            let found = at(
                &function.file,
                line,
                format!("a SCHEDULE that is none: {error}"),
            );
            let found = found.expected("NCRONTAB of six fields and a zone");
            all.push(found.mend("`nightshift cron` shows what an expression means"));
        }
    }
}

/// The list in `registry.rs` against the functions in the sources.
fn list(checkout: &Checkout, functions: &[Declared], all: &mut Vec<Finding>) {
    let text = checkout.text(REGISTRY).unwrap_or_default();
    let listed = match Listed::read(&text) {
        Ok(listed) => listed,
        Err(error) => {
            let found = at(REGISTRY, error.line, format!("{:?}", error.found));
            let found = found.expected("one line `        .with_…(…)?` for each function");
            all.push(found.mend("write the list in that form"));
            return;
        }
    };
    for function in functions {
        let krate = krate(&function.job);
        let entry = listed
            .entries
            .iter()
            .find(|entry| entry.krate == krate && entry.type_name == function.type_name);
        let title = function.title();
        let wanted = format!(".{}({krate}::{})", function.method, function.type_name);
        match entry {
            None => {
                let found = at(REGISTRY, None, format!("{title} is not in the list"));
                let found = found.expected(format!("a line {wanted}"));
                let source = format!("{}:{}", function.file, function.line);
                all.push(found.mend(format!("add it, or remove the function at {source}")));
            }
            Some(entry) if entry.method != function.method => {
                let found = at(REGISTRY, entry.line, format!("{title} by {}", entry.method));
                let found = found.expected(function.method);
                all.push(found.mend(format!("its shape is {}", function.shape)));
            }
            Some(_) => {}
        }
    }
    for entry in &listed.entries {
        let is_it = |function: &&Declared| {
            krate(&function.job) == entry.krate && function.type_name == entry.type_name
        };
        if !functions.iter().any(|function| is_it(&function)) {
            let found = format!("{}::{} is in the list", entry.krate, entry.type_name);
            let found = at(REGISTRY, entry.line, found);
            let found = found.expected("a function in the job's sources");
            all.push(found.mend("remove the line, or write the function"));
        }
    }
    for pair in listed.entries.windows(2) {
        if let [one, other] = pair
            && one.krate > other.krate
        {
            let found = format!("{} behind {}", other.krate, one.krate);
            let found = at(REGISTRY, other.line, found).expected("alphabetical order");
            all.push(found.mend("move the line"));
        }
    }
}
