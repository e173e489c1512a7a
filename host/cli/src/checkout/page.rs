//! `docs/FUNCTIONS.md`: the table of functions, as the checkout's files give it.

use nightshift_bindings::function_json::{Binding, Cardinality};

use super::Checkout;
use super::declared::{Declared, declared};
use super::doors::{Door, doors};

/// The page.
pub(crate) const PAGE: &str = "docs/FUNCTIONS.md";

const HEAD: &str = "\
# Functions

Written by `nightshift check --write`, from each function's `function.json` and source; not by hand.

| function | called by | does | source |
|---|---|---|---|
";

/// The page's text for `checkout`.
pub(crate) fn render(checkout: &Checkout) -> String {
    let declared = declared(checkout);
    let rows = doors(checkout).into_iter().map(|door| {
        let function = declared.iter().find(|function| {
            function
                .name
                .as_ref()
                .is_some_and(|name| name.text == door.name)
        });
        row(checkout, &door, function)
    });
    HEAD.to_owned() + &rows.collect::<String>()
}

fn row(checkout: &Checkout, door: &Door, function: Option<&Declared>) -> String {
    let caller = caller(door, function);
    let (does, source) = match function {
        Some(function) => {
            let text = checkout.text(&function.file).unwrap_or_default();
            let file = &function.file;
            let source = format!("[{}](../{file})", function.shape);
            (first_sentence(&text, &door.name), source)
        }
        None => (String::new(), String::new()),
    };
    format!("| `{}` | {caller} | {does} | {source} |\n", door.name)
}

fn caller(door: &Door, function: Option<&Declared>) -> String {
    match door.trigger() {
        Some(Binding::ServiceBusTrigger(trigger)) => {
            let queue = door.queue().unwrap_or("a topic");
            let many = match trigger.cardinality {
                Cardinality::Many => ", many at a time",
                Cardinality::One => "",
            };
            let input = function.and_then(|function| function.input.as_deref());
            let input = input.map_or_else(String::new, |input| format!(": `{input}`"));
            format!("queue `{queue}`{input}{many}")
        }
        Some(Binding::TimerTrigger(trigger)) => {
            let cron = function.and_then(|function| function.cron.as_ref());
            let zone = function.and_then(|function| function.zone.as_ref());
            let cron = cron.map_or(trigger.schedule.as_str(), |cron| cron.text.as_str());
            let zone = zone.map_or("UTC", |zone| zone.text.as_str());
            format!("clock `{cron}`, {zone}")
        }
        Some(Binding::HttpTrigger(trigger)) => {
            let route = trigger.route.as_deref().unwrap_or(&door.name);
            let methods = match trigger.methods.as_slice() {
                [] => "any method".to_owned(),
                methods => methods.join(", "),
            };
            format!("HTTP `{route}`: {methods}")
        }
        _ => String::new(),
    }
}

/// The first sentence of the source's own documentation, without the function's name before it.
fn first_sentence(source: &str, name: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    let paragraph: Vec<&str> = lines
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    let paragraph = paragraph.join(" ");
    let title = format!("`{name}`: ");
    let text = paragraph.strip_prefix(&title).unwrap_or(&paragraph);
    let end = text.find(". ").unwrap_or(text.len());
    let sentence = text.get(..end).unwrap_or(text).trim_end_matches('.');
    sentence.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sentence_says_what_a_function_does() {
        let source = "//! `a-work`: counts, and\n//! tells. More.\n//!\n//! Much more.\nuse x;\n";
        assert_eq!(first_sentence(source, "a-work"), "counts, and tells");
        assert_eq!(first_sentence("//! All of it.\n", "b"), "All of it");
        assert_eq!(first_sentence("", "b"), "");
    }
}
