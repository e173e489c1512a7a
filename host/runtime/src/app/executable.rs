//! The handler's command line.
//!
//! The real host joins the arguments with spaces, unquoted, and lets the runtime split the line
//! again, so an argument with a space becomes two. The same happens here in both modes: an app
//! that works here must work there.

use std::env::split_paths;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nightshift_bindings::host_json::CustomHandler;
use nightshift_bindings::substitution::expand_names;

use nightshift_settings::Lookup;

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct HandlerCommand {
    pub(crate) executable: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) working_directory: PathBuf,
    /// A fixed port, or a free one at each start.
    pub(crate) port: Option<u16>,
    pub(crate) initialization_timeout: Duration,
    /// Whether lines on the standard error are errors (strict mode).
    pub(crate) stderr_is_errors_only: bool,
    /// The tool that kills the handler when the host dies, if this machine has it.
    pub(crate) setpriv: Option<PathBuf>,
}

/// Finds the executable and the working directory.
pub(super) fn resolve(
    app_root: &Path,
    section: &CustomHandler,
    lookup: &Lookup,
    problems: &mut Vec<String>,
) -> Option<HandlerCommand> {
    let description = &section.description;
    let expand = |text: &str| expand_names(text, |name| lookup.value(name));
    let directory = |relative: &Option<String>| match relative.as_deref().map(expand) {
        Some(relative) if !relative.is_empty() => app_root.join(relative),
        _ => app_root.to_path_buf(),
    };
    let working_directory = directory(&description.working_directory);
    let mut problem = |key: &str, what: String| {
        let file = app_root.join("host.json");
        problems.push(format!(
            "{}: customHandler.description.{key}: {what}",
            file.display()
        ));
    };
    if !working_directory.is_dir() {
        let what = format!("{} is not a folder", working_directory.display());
        problem("workingDirectory", what);
        return None;
    }
    let name = expand(&description.default_executable_path);
    let search = lookup.get("PATH").unwrap_or_default();
    let roots = [
        app_root.to_path_buf(),
        directory(&description.worker_directory),
    ];
    match find_executable(&name, &roots, search) {
        Ok(executable) => Some(HandlerCommand {
            executable,
            arguments: split_command_line(&expand(&description.arguments.join(" "))),
            working_directory,
            port: section.port,
            initialization_timeout: section.initialization_timeout,
            stderr_is_errors_only: description.stderr_is_errors_only,
            setpriv: find_executable("setpriv", &[], search).ok(),
        }),
        Err(what) => {
            problem("defaultExecutablePath", what);
            None
        }
    }
}

fn find_executable(name: &str, roots: &[PathBuf], search: &str) -> Result<PathBuf, String> {
    if name.trim().is_empty() {
        return Err("is empty: name the handler's executable".to_owned());
    }
    // A rooted name replaces the root it is joined to.
    let in_app = roots
        .iter()
        .map(|root| root.join(name))
        .find(|path| path.is_file());
    let is_bare = !name.contains('/');
    let on_path = || {
        split_paths(search)
            .map(|folder| folder.join(name))
            .find(|path| path.is_file())
    };
    let found = in_app.or_else(|| is_bare.then(on_path).flatten());
    let Some(path) = found else {
        let place = roots
            .first()
            .map(|root| root.display().to_string())
            .unwrap_or_default();
        let path = if is_bare { " nor on PATH" } else { "" };
        return Err(format!(
            "there is no file {name:?} in {place}{path}: build the handler first"
        ));
    };
    let mode = path
        .metadata()
        .map_err(|error| format!("{}: {error}", path.display()))?;
    if mode.permissions().mode() & 0o111 == 0 {
        let path = path.display();
        return Err(format!("{path} is not executable: run chmod +x {path}"));
    }
    // The process starts in another folder, so the path must not depend on ours.
    std::path::absolute(&path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Splits at spaces outside double quotes; a backslash before a quote makes it an ordinary
/// character.
fn split_command_line(line: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut current: Option<String> = None;
    let mut is_quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' => {
                is_quoted = !is_quoted;
                current.get_or_insert_default();
            }
            '\\' if chars.peek() == Some(&'"') => {
                chars.next();
                current.get_or_insert_default().push('"');
            }
            char if char.is_whitespace() && !is_quoted => arguments.extend(current.take()),
            char => current.get_or_insert_default().push(char),
        }
    }
    arguments.extend(current);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_at_spaces_outside_quotes() {
        assert_eq!(
            split_command_line("  a \"b c\"d  \"\" \\\"e "),
            ["a", "b cd", "", "\"e"]
        );
        assert!(split_command_line("   ").is_empty());
    }
}
