//! Python packages into a folder of our own, with whatever pip this machine offers.
//!
//! Nothing is installed into any Python: `pip install --target` writes one folder, which a
//! program names in `PYTHONPATH`. A bare Debian has Python without pip; there the wheel of the
//! package `python3-pip-whl` is unpacked and run in place.

use std::path::{Path, PathBuf};

use super::tool::Tool;
use super::{debian, installed};
use crate::servers::home::Home;
use crate::servers::progress::Progress;
use crate::servers::{ServerError, Unavailable};

/// The interpreter's name, found on PATH.
const PYTHON: &str = "python3";

/// Makes sure that the packages named in the file `requirements` are in the home's `python`
/// folder, and returns that folder.
pub async fn packages(
    requirements: &Path,
    home: &Home,
    progress: &Progress,
) -> Result<PathBuf, ServerError> {
    let text =
        std::fs::read_to_string(requirements).map_err(ServerError::file("read", requirements))?;
    // Compiled packages fit one version of the interpreter only.
    let version = Tool::new(PYTHON).arg("--version").run().await?;
    let folder = home.root().join("python");
    let stamp = format!("{}\n{text}", version.trim());
    installed(&folder, &stamp, progress, |partial| async move {
        progress.say("python", "fetching the packages of the conformance tests");
        let pip = Pip::find(home, progress).await?;
        pip.install(&partial)
            .arg("-r")
            .arg(requirements)
            .run()
            .await?;
        progress.say("python", "packages ready");
        Ok(())
    })
    .await?;
    Ok(folder)
}

/// Downloads one package in one version, without its dependencies, into `target`.
pub(crate) async fn unpack_one(
    name: &str,
    version: &str,
    target: &Path,
    home: &Home,
    progress: &Progress,
) -> Result<(), ServerError> {
    let pip = Pip::find(home, progress).await?;
    pip.install(target)
        .arg("--no-deps")
        .arg(format!("{name}=={version}"))
        .run()
        .await
        .map(drop)
}

/// A way to run pip.
struct Pip {
    /// The wheel to run it from; `None` when the interpreter has one of its own.
    wheel: Option<PathBuf>,
}

impl Pip {
    async fn find(home: &Home, progress: &Progress) -> Result<Self, ServerError> {
        let version = Self { wheel: None }.tool().arg("--version").run().await;
        let Err(own) = version else {
            return Ok(Self { wheel: None });
        };
        let folder = home.cache().join("pip");
        let fetched = installed(&folder, "python3-pip-whl", progress, |partial| async move {
            debian::unpack("python3-pip-whl", &partial).await.map(drop)
        });
        let unpacked = match fetched.await {
            Ok(()) => wheel_in(&folder.join("usr/share/python-wheels")),
            Err(error) => Err(error),
        };
        unpacked
            .map(|wheel| Self { wheel: Some(wheel) })
            .map_err(|error| {
                ServerError::Unavailable(Unavailable {
                    what: "pip",
                    tried: vec![
                        (format!("{PYTHON} -m pip"), own.to_string()),
                        ("Debian package python3-pip-whl".into(), error.to_string()),
                    ],
                    instead: "install it (Debian: apt-get install python3-pip)",
                })
            })
    }

    fn tool(&self) -> Tool {
        match &self.wheel {
            None => Tool::new(PYTHON).args(["-m", "pip"]),
            // A wheel is a zip file, which the interpreter imports from like from a folder.
            Some(wheel) => Tool::new(PYTHON).arg(wheel.join("pip")),
        }
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    }

    fn install(&self, target: &Path) -> Tool {
        self.tool()
            .args([
                "install",
                "--quiet",
                "--no-input",
                "--no-warn-script-location",
            ])
            .args(["--root-user-action=ignore", "--no-compile", "--target"])
            .arg(target)
    }
}

fn wheel_in(folder: &Path) -> Result<PathBuf, ServerError> {
    let entries = std::fs::read_dir(folder).map_err(ServerError::file("read", folder))?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("pip-"))
        })
        .ok_or_else(|| ServerError::Machine(format!("no pip wheel in {}", folder.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_go_to_the_target_and_nowhere_else() {
        let line = Pip { wheel: None }.install(Path::new("/x")).line();
        assert!(line.starts_with("python3 -m pip install"), "{line}");
        assert!(line.ends_with("--target /x"), "{line}");
    }

    #[test]
    fn a_wheel_is_run_in_place() {
        let pip = Pip {
            wheel: Some("/w/pip-23.whl".into()),
        };
        assert!(pip.tool().line().starts_with("python3 /w/pip-23.whl/pip"));
    }
}
