//! The lines of a new job in the files that list jobs. A file that is not as it is known is refused.

use anyhow::Context;

use super::Kind;
use super::name::Job;
use crate::checkout::listed::Listed;
use crate::checkout::manifest::{HANDLER, Manifest, PREFIX, WORKSPACE};
use crate::checkout::{Checkout, REGISTRY};

/// The table of layers.
const LAYERS: &str = "tests/it/layering.rs";

/// The list of the types of messages.
const CONTRACT: &str = "shared/contract/src/lib.rs";

/// Every file that has to change, with its new text.
pub(super) fn all(
    checkout: &Checkout,
    job: &Job,
    kind: &Kind,
) -> anyhow::Result<Vec<(String, String)>> {
    let text = |file: &str| checkout.required(file);
    let mut changed = vec![
        (WORKSPACE, workspace(text(WORKSPACE)?, job)?),
        (HANDLER, handler(text(HANDLER)?, job)?),
        (REGISTRY, registry(&text(REGISTRY)?, job, kind)?),
        (LAYERS, layers(&text(LAYERS)?, job)?),
    ];
    let payload = match kind {
        Kind::Queue(_) => Some("Requested"),
        Kind::Timer(_) => Some("Due"),
        Kind::Http(_) => None,
    };
    if let Some(payload) = payload {
        let payload = format!("{}{payload}", job.type_name);
        changed.push((CONTRACT, contract(&text(CONTRACT)?, job, &payload)?));
    }
    let changed = changed.into_iter();
    Ok(changed
        .map(|(file, text)| (file.to_owned(), text))
        .collect())
}

fn workspace(text: String, job: &Job) -> anyhow::Result<String> {
    let folder = format!("functions/{}", job.name);
    let name = format!("{PREFIX}{}", job.name);
    let line = format!("{name} = {{ path = \"{folder}\" }}");
    let manifest = Manifest::read(WORKSPACE, text)?
        .with_member(&folder)?
        .with_dependency(&["workspace", "dependencies"], &name, &line)?;
    Ok(manifest.text().to_owned())
}

fn handler(text: String, job: &Job) -> anyhow::Result<String> {
    let name = format!("{PREFIX}{}", job.name);
    let line = format!("{name}.workspace = true");
    let manifest = Manifest::read(HANDLER, text)?;
    let manifest = manifest.with_dependency(&["dependencies"], &name, &line)?;
    Ok(manifest.text().to_owned())
}

fn registry(text: &str, job: &Job, kind: &Kind) -> anyhow::Result<String> {
    let functions: &[(&str, &str)] = match kind {
        Kind::Queue(_) => &[("with_transactional", "Work")],
        Kind::Timer(_) => &[("with_schedule", "Schedule"), ("with_batch", "Work")],
        Kind::Http(_) => &[("with_http", "Api")],
    };
    let mut listed = Listed::read(text)?;
    listed.insert(&job.name, functions);
    Ok(listed.render())
}

/// A row of its own, among the rows of the jobs, and an item in the row of the handler.
fn layers(text: &str, job: &Job) -> anyhow::Result<String> {
    const WITH: &str = ", with(&[\"job\", \"postgres\", \"handler\"])),";
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let handler = lines.windows(2).position(|pair| {
        let [open, name] = pair else { return false };
        open.trim() == "(" && name.trim() == "\"functions\","
    });
    let handler = handler.with_context(|| {
        format!("{LAYERS}: there is no row that begins with the lines ( and \"functions\",")
    })?;
    let items = handler + 3;
    let end = lines
        .iter()
        .skip(items)
        .position(|line| line.trim() == "]),");
    let end = items + end.with_context(|| format!("{LAYERS}: the row functions has no end"))?;
    let item = format!("                \"{}\",", job.name);
    let place = lines
        .iter()
        .take(end)
        .skip(items)
        .position(|line| *line > item);
    let place = place.map_or(end, |place| items + place);
    lines.insert(place, item);
    // The rows of the jobs are the last ones above it, behind that of the testkit.
    let is_job = |line: &&String| {
        let row = line.strip_prefix("        (\"");
        row.is_some_and(|row| row.ends_with(WITH) && !row.starts_with("testkit\""))
    };
    let rows = lines.iter().take(handler).rev().take_while(is_job).count();
    let begin = handler - rows;
    let row = format!("        (\"{}\"{WITH}", job.name);
    let mut jobs = lines.iter().take(handler).skip(begin);
    let place = jobs.position(|line| *line > row);
    lines.insert(place.map_or(handler, |place| begin + place), row);
    Ok(lines.join("\n") + "\n")
}

/// `mod` and `pub use`, each at its place in the alphabet.
fn contract(text: &str, job: &Job, payload: &str) -> anyhow::Result<String> {
    let module = format!("mod {};", job.module);
    let export = format!("pub use {}::{payload};", job.module);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (head, line) in [("mod ", module), ("pub use ", export)] {
        let is_one = |other: &&String| other.starts_with(head) && other.ends_with(';');
        let begin = lines.iter().position(|other| is_one(&other));
        let begin = begin.with_context(|| format!("{CONTRACT}: no line begins with `{head}`"))?;
        let block = lines.iter().skip(begin).take_while(is_one);
        // The names in order: `a_b` is behind `a`, whatever follows them on their lines.
        let name = |line: &str| line.split([';', ':']).next().unwrap_or_default().to_owned();
        let earlier = block.take_while(|other| name(other) < name(&line)).count();
        lines.insert(begin + earlier, line);
    }
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS_TEXT: &str = "
        (\"testkit\", with(&[\"job\", \"postgres\", \"handler\"])),
        (\"admin\", with(&[\"job\", \"postgres\", \"handler\"])),
        (\"zoo\", with(&[\"job\", \"postgres\", \"handler\"])),
        (
            \"functions\",
            with(&[
                \"admin\",
                \"zoo\",
            ]),
        ),
";

    fn job(name: &str) -> Job {
        Job::parse(name).unwrap()
    }

    #[test]
    fn the_table_of_layers_gets_a_row_and_an_item() {
        let text = layers(LAYERS_TEXT, &job("middle")).unwrap();
        let expected = LAYERS_TEXT
            .replace(
                "        (\"zoo\"",
                "        (\"middle\", with(&[\"job\", \"postgres\", \"handler\"])),\n        (\"zoo\"",
            )
            .replace(
                "                \"zoo\"",
                "                \"middle\",\n                \"zoo\"",
            );
        assert_eq!(text, expected);
        let last = layers(LAYERS_TEXT, &job("zzz")).unwrap();
        assert!(last.contains("handler\"])),\n        (\n            \"functions\""));
        assert!(last.contains("\"zoo\",\n                \"zzz\",\n            ])"));
        let first = layers(LAYERS_TEXT, &job("a")).unwrap();
        assert!(first.contains(
            "(\"testkit\", with(&[\"job\", \"postgres\", \"handler\"])),\n        (\"a\""
        ));
        assert!(layers("", &job("a")).is_err());
    }

    #[test]
    fn the_contract_gets_a_module_and_its_type() {
        let text = "//! All.\n\nmod decode;\nmod text;\n\npub use decode::{Payload, decode};\npub use text::Text;\n";
        let changed = contract(text, &job("middle"), "MiddleDue").unwrap();
        let expected = "//! All.\n\nmod decode;\nmod middle;\nmod text;\n\npub use decode::{Payload, decode};\npub use middle::MiddleDue;\npub use text::Text;\n";
        assert_eq!(changed, expected);
        let error = contract("", &job("a"), "ADue").unwrap_err();
        assert!(error.to_string().starts_with("shared/contract/src/lib.rs"));
    }
}
