//! Where an app's functions are.
//!
//! The Functions host looks only at the first level beside `host.json`, and calls a function by its
//! folder's name. In a source tree a job is a folder and each of its triggers a folder inside
//! (`functions/<job>/<door>`); such a function is called `<job>-<door>`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::function_json::is_function_name;

/// The file that makes a folder a function.
pub const FUNCTION_FILE: &str = "function.json";

/// Name and `function.json` of every function of the app at `root`, in either layout, sorted by
/// name. Fails with the folder that cannot be read.
pub fn functions(root: &Path) -> Result<Vec<(String, PathBuf)>, UnreadableFolder> {
    let jobs = root.join("functions");
    if jobs.is_dir() {
        return doors(&jobs);
    }
    let mut functions = Vec::new();
    for (name, folder) in folders(root)? {
        let file = folder.join(FUNCTION_FILE);
        if is_function_name(&name) && file.is_file() {
            functions.push((name, file));
        }
    }
    functions.sort();
    Ok(functions)
}

/// Name and `function.json` of every function in a source tree's folder of jobs, sorted by name.
pub fn doors(jobs: &Path) -> Result<Vec<(String, PathBuf)>, UnreadableFolder> {
    let mut doors = Vec::new();
    for (job, folder) in folders(jobs)? {
        for (door, folder) in folders(&folder)? {
            let file = folder.join(FUNCTION_FILE);
            if file.is_file() {
                doors.push((format!("{job}-{door}"), file));
            }
        }
    }
    doors.sort();
    Ok(doors)
}

/// A folder in which functions were looked for.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the folder {}", folder.display())]
pub struct UnreadableFolder {
    folder: PathBuf,
    #[source]
    source: io::Error,
}

/// The folders directly in `parent`, by name. A name that is no text can be no function's.
fn folders(parent: &Path) -> Result<Vec<(String, PathBuf)>, UnreadableFolder> {
    let entries = fs::read_dir(parent).map_err(|source| UnreadableFolder {
        folder: parent.to_owned(),
        source,
    })?;
    let folders = entries.flatten().filter_map(|entry| {
        let path = entry.path();
        let name = entry.file_name().into_string().ok()?;
        path.is_dir().then_some((name, path))
    });
    Ok(folders.collect())
}
