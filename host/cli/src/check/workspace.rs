//! The jobs as packages: members of the workspace, dependencies of the handler, rows of the layers' table.

use super::{Finding, at};
use crate::checkout::manifest::{HANDLER, Manifest, PREFIX, WORKSPACE};
use crate::checkout::{Checkout, JOBS};

/// The table of layers.
pub(crate) const LAYERS: &str = "tests/it/layering.rs";

pub(super) fn compare(checkout: &Checkout, all: &mut Vec<Finding>) {
    let jobs = checkout.jobs();
    let mut manifest = |file: &str| {
        let text = checkout.text(file).unwrap_or_default();
        Manifest::read(file, text)
            .map_err(|error| {
                let found = at(file, None, error.to_string()).expected("a manifest");
                all.push(found.mend("correct it"));
            })
            .ok()
    };
    let (workspace, handler) = (manifest(WORKSPACE), manifest(HANDLER));
    let mut layers = checkout.text(LAYERS).unwrap_or_default();
    // Rows may be broken into lines.
    layers.retain(|letter| !letter.is_whitespace());
    for job in &jobs {
        let file = format!("{JOBS}/{job}/Cargo.toml");
        let name = format!("{PREFIX}{job}");
        let own = checkout.text(&file);
        let own = own.and_then(|text| Manifest::read(&file, text).ok());
        match own.as_ref().and_then(Manifest::package) {
            Some(package) if package.name == name => {}
            Some(package) => all.push(
                at(&file, package.line, format!("the package {}", package.name))
                    .expected(&name)
                    .mend("the package is called like its folder: rename one of them"),
            ),
            None => all.push(
                at(&file, None, "no package")
                    .expected(&name)
                    .mend(format!("write its manifest, or remove {JOBS}/{job}")),
            ),
        }
        if let Some(workspace) = &workspace {
            let member = format!("{JOBS}/{job}");
            let names = workspace.members();
            let is_there = names.iter().any(|named| named.name == member);
            lacking(is_there, WORKSPACE, format!("the member {member:?}"), all);
            let names = workspace.dependencies(&["workspace", "dependencies"]);
            let is_there = names.iter().any(|named| named.name == name);
            let what = format!("{name} = {{ path = \"{member}\" }}");
            lacking(is_there, WORKSPACE, what, all);
        }
        if let Some(handler) = &handler {
            let names = handler.dependencies(&["dependencies"]);
            let is_there = names.iter().any(|named| named.name == name);
            lacking(is_there, HANDLER, format!("{name}.workspace = true"), all);
        }
        let row = format!("(\"{job}\",with(");
        let handler = layers.split("(\"functions\",with(&[").nth(1);
        let handler = handler.and_then(|rest| rest.split(']').next());
        let is_known = handler.is_some_and(|row| row.contains(&format!("\"{job}\"")));
        let is_there = layers.contains(&row) && is_known;
        let what = format!("a row for {job}, and {job} among what functions may know");
        lacking(is_there, LAYERS, what, all);
    }
    if let Some(workspace) = &workspace {
        for member in workspace.members() {
            let job = member.name.strip_prefix("functions/");
            if job.is_some_and(|job| !jobs.iter().any(|known| known == job)) {
                let found = at(
                    WORKSPACE,
                    member.line,
                    format!("the member {}", member.name),
                );
                let found = found.expected("the folder of a job");
                all.push(found.mend("remove the member, or rename the folder back"));
            }
        }
    }
}

fn lacking(is_there: bool, file: &str, what: String, all: &mut Vec<Finding>) {
    if !is_there {
        let found = at(file, None, format!("it lacks {what}")).expected(what);
        all.push(found.mend("add it, or remove the job's folder"));
    }
}
