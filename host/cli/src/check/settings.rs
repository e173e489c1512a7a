//! The names of settings, in the table of `nightshift settings`, in code and in documents.

use std::collections::BTreeSet;

use nightshift_settings::did_you_mean;

use super::{Finding, at};
use crate::checkout::Checkout;
use crate::checkout::settings::{Mention, TABLE, in_code, in_prose, listed};

pub(super) fn compare(checkout: &Checkout, all: &mut Vec<Finding>) {
    let table = listed(checkout);
    let known: BTreeSet<&str> = table.iter().map(|row| row.name.as_str()).collect();
    let is_known = |mention: &Mention| {
        known.contains(mention.name.as_str())
            || mention.is_family() && known.iter().any(|name| name.starts_with(&mention.name))
    };
    let code = in_code(checkout);
    let documents = checkout.files("docs", ".md").into_iter();
    let prose = documents
        .chain(["README.md".to_owned()])
        .flat_map(|file| in_prose(checkout, &file));
    for mention in code.iter().cloned().chain(prose) {
        if is_known(&mention) {
            continue;
        }
        let near = did_you_mean(&mention.name, known.iter().copied());
        let found = format!("the setting {}", mention.name);
        let found = at(&mention.file, mention.line, found);
        let found = found.expected(format!("a setting in the table of {TABLE}{near}"));
        all.push(found.mend("add it to the table, or name the one that is meant"));
    }
    for row in &table {
        let is_ours = row.name.starts_with("NIGHTSHIFT_");
        if is_ours && !code.iter().any(|mention| mention.name == row.name) {
            // Those that only the command itself reads are constants there, for its other sources.
            if is_read_beside_the_table(checkout, &row.name) {
                continue;
            }
            let names = code.iter().map(|mention| mention.name.as_str());
            let near = did_you_mean(&row.name, names);
            let found = at(TABLE, row.line, format!("the setting {}", row.name));
            let found = found.expected(format!("a setting that some code reads{near}"));
            all.push(found.mend("remove the row, or follow the rename"));
        }
    }
}

/// Whether the table's source has `name` as a constant for others.
fn is_read_beside_the_table(checkout: &Checkout, name: &str) -> bool {
    let text = checkout.text(TABLE).unwrap_or_default();
    let value = format!("= {name:?};");
    let mut lines = text.lines();
    lines.any(|line| line.starts_with("pub(crate) const ") && line.ends_with(&value))
}
