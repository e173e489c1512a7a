//! The names of queues: whoever names one must mean one that a function reads.

use std::collections::BTreeMap;

use nightshift_settings::did_you_mean;

use super::{DOCUMENTS, Finding, at};
use crate::checkout::doors::{Door, doors};
use crate::checkout::rust_text::RustText;
use crate::checkout::{Checkout, JOBS, line_of};

/// Where the queue of the sample messages is named.
const SAMPLES: &str = "host/cli/src/up/round.rs";

/// Where the queue is named to which tests of the whole product send.
const STACK: &str = "tests/stack.rs";

/// The messages' types.
const CONTRACT: &str = "shared/contract/src";

pub(super) fn compare(checkout: &Checkout, all: &mut Vec<Finding>) {
    let doors = doors(checkout);
    let readers = readers(&doors, all);
    let mut mentions = Vec::new();
    contract(checkout, &mut mentions);
    code(checkout, &mut mentions);
    for document in DOCUMENTS {
        prose(checkout, document, &mut mentions);
        functions_in_prose(checkout, document, &doors, all);
    }
    for mention in &mentions {
        if readers.contains_key(mention.queue.as_str()) {
            continue;
        }
        let known = readers.keys().copied();
        let near = did_you_mean(&mention.queue, known.clone());
        let known: Vec<&str> = known.collect();
        let found = format!("the queue {}, which no function reads", mention.queue);
        let found = at(&mention.file, mention.line, found);
        let found = found.expected(format!("one of {}{near}", known.join(", ")));
        all.push(found.mend("name another queue here, or in the function.json of its reader"));
    }
    undescribed(&readers, &mentions, all);
}

/// Who reads each queue. Two functions must not share one.
fn readers<'a>(doors: &'a [Door], all: &mut Vec<Finding>) -> BTreeMap<&'a str, &'a Door> {
    let mut readers: BTreeMap<&str, &Door> = BTreeMap::new();
    for door in doors {
        let Some(queue) = door.queue() else {
            continue;
        };
        if let Some(other) = readers.insert(queue, door) {
            let found = format!("the queue {queue}, which {} reads, too", other.name);
            let found = at(&door.file, door.line("queueName"), found);
            let found = found.expected("a queue for each function");
            all.push(found.mend("each would get some of the messages: take another queue"));
        }
    }
    readers
}

/// A queue somewhere.
struct Mention {
    queue: String,
    file: String,
    line: usize,
}

/// The types of messages say on their first line which queue they travel through.
fn contract(checkout: &Checkout, mentions: &mut Vec<Mention>) {
    for file in checkout.files(CONTRACT, ".rs") {
        let text = checkout.text(&file).unwrap_or_default();
        let queue = text.strip_prefix("//! Queue `");
        if let Some((queue, _)) = queue.and_then(|rest| rest.split_once('`')) {
            mentions.push(Mention {
                queue: queue.to_owned(),
                line: 1,
                file,
            });
        }
    }
}

/// A queue that no type of messages names.
fn undescribed(readers: &BTreeMap<&str, &Door>, mentions: &[Mention], all: &mut Vec<Finding>) {
    let is_described = |queue: &str| {
        let mut in_contract = mentions.iter().filter(|it| it.file.starts_with(CONTRACT));
        in_contract.any(|mention| mention.queue == queue)
    };
    for (queue, door) in readers {
        if !is_described(queue) {
            let found = format!("the queue {queue}, of which no type of messages speaks");
            let found = at(&door.file, door.line("queueName"), found);
            let found = found.expected(format!(
                "a file below {CONTRACT} that begins with //! Queue `{queue}`:"
            ));
            all.push(found.mend("correct the first line of its payload's file, or this queueName"));
        }
    }
}

/// The queues that code sends to.
fn code(checkout: &Checkout, mentions: &mut Vec<Mention>) {
    let constant = |file: &str, head: &str, mentions: &mut Vec<Mention>| {
        let text = checkout.text(file).unwrap_or_default();
        let rust = RustText::read(&text);
        let Some(at) = rust.code.find(head) else {
            return;
        };
        let tail = rust.code.get(at..).unwrap_or_default();
        let end = tail.find([';', ']']).unwrap_or(tail.len());
        for literal in rust.literals_in(at..at + end) {
            mentions.push(Mention {
                queue: literal.value.clone(),
                file: file.to_owned(),
                line: line_of(&text, literal.at),
            });
        }
    };
    constant(SAMPLES, "const QUEUE: &str", mentions);
    constant(STACK, "            queues: &[", mentions);
    for file in checkout.files(JOBS, ".rs") {
        let text = checkout.text(&file).unwrap_or_default();
        let rust = RustText::read(&text).without_tests();
        for (at, call) in rust.code.match_indices("Enqueue::to(") {
            let begin = at + call.len();
            let tail = rust.code.get(begin..).unwrap_or_default();
            let argument = tail.split(',').next().unwrap_or_default();
            let mut literals = rust.literals_in(begin..begin + argument.len());
            let literal = literals.next().or_else(|| rust.constant(argument.trim()));
            if let Some(literal) = literal {
                mentions.push(Mention {
                    queue: literal.value.clone(),
                    line: line_of(&text, literal.at),
                    file: file.clone(),
                });
            }
        }
    }
}

/// "queue `name`" and the like in a document.
fn prose(checkout: &Checkout, file: &str, mentions: &mut Vec<Mention>) {
    let text = checkout.text(file).unwrap_or_default();
    for (before, after) in [("queue `", '`'), ("get_queue_sender(\"", '"')] {
        for (at, _) in text.match_indices(before) {
            let rest = text.get(at + before.len()..).unwrap_or_default();
            if let Some((queue, _)) = rest.split_once(after) {
                mentions.push(Mention {
                    queue: queue.to_owned(),
                    file: file.to_owned(),
                    line: line_of(&text, at),
                });
            }
        }
    }
}

/// Names in backquotes that look like those of functions: `<job>-<door>`, of which one is real.
fn functions_in_prose(checkout: &Checkout, file: &str, doors: &[Door], all: &mut Vec<Finding>) {
    let text = checkout.text(file).unwrap_or_default();
    let mut at_byte = 0;
    for (index, word) in text.split('`').enumerate() {
        let begin = at_byte;
        at_byte += word.len() + 1;
        let is_name = word
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        if index % 2 == 0 || !is_name || doors.iter().any(|door| door.name == word) {
            continue;
        }
        let is_like = |door: &Door| {
            let own = door.name.strip_prefix(&door.job).unwrap_or_default();
            own.len() > 1 && word.ends_with(own) || word.starts_with(&format!("{}-", door.job))
        };
        if doors.iter().any(is_like) {
            let known = doors.iter().map(|door| door.name.as_str());
            let near = did_you_mean(word, known);
            let found = at(file, line_of(&text, begin), format!("`{word}`"));
            let found = found.expected(format!("the name of a function{near}"));
            all.push(found.mend("no function is called that: follow the rename"));
        }
    }
}
