//! Builds the handler with cargo while the servers start.

use std::path::{Path, PathBuf};

use anyhow::Context;
use nightshift_settings::{Environment, Source};
use serde::Deserialize;

use crate::environment::without_cargo;
use crate::servers::Tool;

const PACKAGE: &str = "nightshift-functions";
const BINARY: &str = "handler";

/// Builds the handler in this program's own profile and returns its path.
pub(crate) async fn handler(checkout: &Path) -> anyhow::Result<PathBuf> {
    let cargo = Environment
        .get("CARGO")
        .unwrap_or_else(|| "cargo".to_owned());
    let mut tool = Tool::new(cargo)
        .args(["build", "--package", PACKAGE, "--bin", BINARY])
        .arg("--message-format=json-render-diagnostics")
        .folder(checkout);
    if !cfg!(debug_assertions) {
        tool = tool.arg("--release");
    }
    for name in without_cargo(&Environment.names()) {
        tool = tool.without_env(name);
    }
    let messages = tool.run().await.context("the handler does not build")?;
    messages
        .lines()
        .find_map(executable)
        .with_context(|| format!("cargo built no program {BINARY}"))
}

/// The path in one of cargo's messages, if that is about the handler's program.
fn executable(line: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Artifact {
        executable: Option<PathBuf>,
        target: Target,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    let artifact: Artifact = serde_json::from_str(line).ok()?;
    artifact
        .executable
        .filter(|_| artifact.target.name == BINARY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handlers_path_is_found_among_cargos_messages() {
        let library =
            r#"{"reason":"compiler-artifact","target":{"name":"tokio"},"executable":null}"#;
        let handler = r#"{"reason":"compiler-artifact","target":{"name":"handler"},"executable":"/t/debug/handler"}"#;
        assert_eq!(executable(library), None);
        assert_eq!(executable(handler), Some("/t/debug/handler".into()));
        assert_eq!(executable("not json"), None);
    }
}
