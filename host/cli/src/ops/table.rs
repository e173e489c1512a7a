//! Answers of the API for people: tables, and what is in one row.

use serde_json::Value;

use crate::output::printable;

/// The widest column but the last, in characters.
const WIDEST: usize = 44;

/// A column: its heading, and where in a row its value is, as a JSON pointer.
pub(super) type Column = (&'static str, &'static str);

/// `rows` as a table, or what is said when there are none.
pub(super) fn table(columns: &[Column], rows: &[Value], none: &str) -> String {
    if rows.is_empty() {
        return none.to_owned();
    }
    let heading = columns.iter().map(|(heading, _)| (*heading).to_owned());
    let mut lines: Vec<Vec<String>> = vec![heading.collect()];
    for row in rows {
        let cells = columns.iter().enumerate().map(|(n, (_, pointer))| {
            let cell = row.pointer(pointer).map(cell).unwrap_or_default();
            if n + 1 == columns.len() {
                cell
            } else {
                shortened(&cell, WIDEST)
            }
        });
        lines.push(cells.collect());
    }
    let width = |n: usize| lines.iter().map(|line| line[n].chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|n| width(n).unwrap_or(0)).collect();
    let lines = lines.iter().map(|line| {
        let cells = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The members of `row`, one on a line.
pub(super) fn details(row: &Value) -> String {
    let Some(members) = row.as_object() else {
        return cell(row);
    };
    let width = members.keys().map(|name| name.chars().count()).max();
    let width = width.unwrap_or(0);
    let lines = members.iter().map(|(name, value)| {
        let value = match value {
            Value::Object(_) | Value::Array(_) => {
                let pretty = serde_json::to_string_pretty(value).unwrap_or_default();
                printable(&pretty).replace('\n', &format!("\n{:width$}  ", ""))
            }
            other => cell(other),
        };
        format!("{name:width$}  {value}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A value on one line, without anything that a terminal would take for a command.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => other.to_string(),
    };
    let text = time(&text).unwrap_or(text);
    printable(&text).replace('\n', " ")
}

/// An instant to the second, if `text` is one.
fn time(text: &str) -> Option<String> {
    let is_instant = text.len() >= 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T';
    let (seconds, _) = text.split_at_checked(19).filter(|_| is_instant)?;
    Some(format!("{seconds}Z"))
}

fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let cut: String = text.chars().take(width - 1).collect();
    format!("{cut}…")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_line_up_and_a_terminal_gets_no_commands() {
        let rows = [
            json!({"name": "a", "at": "2026-11-22T01:02:03.456Z", "said": {"n": 1}}),
            json!({"name": "b\u{1b}[2J", "said": "two\nlines"}),
        ];
        let columns = [("NAME", "/name"), ("AT", "/at"), ("SAID", "/said")];
        assert_eq!(
            table(&columns, &rows, "none"),
            "NAME   AT                    SAID\n\
             a      2026-11-22T01:02:03Z  {\"n\":1}\n\
             b [2J                        two lines"
        );
        assert_eq!(table(&columns, &[], "none"), "none");
    }

    #[test]
    fn a_row_is_shown_member_by_member() {
        let row = json!({"key": "k", "payload": {"a": 1}});
        assert_eq!(
            details(&row),
            "key      k\npayload  {\n           \"a\": 1\n         }"
        );
    }
}
