//! Programs out of Debian packages, downloaded and unpacked but not installed.
//!
//! `apt-get` is given private state and cache folders, so that it works without root and leaves
//! the system's lists, locks and caches alone; it still reads the system's sources and keys, and
//! checks signatures as always. Which packages are needed is asked of apt itself: a simulated
//! installation names the package and whatever of its dependencies this machine lacks. `dpkg -x`
//! then unpacks them, and the loader finds their libraries through `LD_LIBRARY_PATH`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::tool::Tool;
use crate::servers::ServerError;

/// Packages that a server drags in and that it does not need to run from a folder: tools for
/// installing it as a system service, compilers for just-in-time compilation, all locales.
const SUPERFLUOUS: [&str; 6] = [
    "postgresql-common",
    "ssl-cert",
    "locales",
    "libllvm",
    "libz3",
    "perl",
];

/// Downloads `package`, with those of its dependencies that this machine lacks, and unpacks all
/// into `target`. Returns the version of `package`.
pub(crate) async fn unpack(package: &str, target: &Path) -> Result<String, ServerError> {
    let apt = Apt::new(&target.join(".apt"))?;
    // Some source that does not matter here may be unreachable; what is missing shows below.
    let update = apt.tool("update").run().await;
    let plan = match apt
        .tool("install")
        .args(["--simulate", package])
        .run()
        .await
    {
        Ok(plan) => plan,
        Err(error) => return Err(update.err().unwrap_or(error)),
    };
    let packages = planned(&plan);
    let version = packages
        .iter()
        .find(|(name, _)| *name == package)
        .map(|(_, version)| (*version).to_owned())
        .ok_or_else(|| not_planned(package))?;
    let wanted = packages
        .iter()
        .filter(|(name, _)| !SUPERFLUOUS.iter().any(|prefix| name.starts_with(prefix)))
        .map(|(name, version)| format!("{name}={version}"));
    let download = apt
        .tool("download")
        .args(wanted)
        .folder(&apt.downloads)
        .run()
        .await;
    if let Err(error) = download {
        return Err(update.err().unwrap_or(error));
    }
    for archive in archives(&apt.downloads)? {
        Tool::new("dpkg")
            .arg("-x")
            .arg(&archive)
            .arg(target)
            .run()
            .await?;
    }
    super::remove(&apt.root)?;
    Ok(version)
}

/// The library folders below an unpacked `root`, as a value for `LD_LIBRARY_PATH`; empty if the
/// packages brought none.
pub(crate) fn library_path(root: &Path) -> OsString {
    let mut folders: Vec<PathBuf> = Vec::new();
    for base in ["usr/lib", "lib"] {
        let Ok(entries) = std::fs::read_dir(root.join(base)) else {
            continue;
        };
        folders.extend(
            entries
                .flatten()
                .filter(|entry| entry.file_name().to_string_lossy().contains("-linux-"))
                .map(|entry| entry.path()),
        );
    }
    folders.sort();
    std::env::join_paths(folders).unwrap_or_default()
}

struct Apt {
    root: PathBuf,
    downloads: PathBuf,
}

impl Apt {
    fn new(root: &Path) -> Result<Self, ServerError> {
        let downloads = root.join("downloads");
        for folder in [
            &downloads,
            &root.join("state/lists/partial"),
            &root.join("cache/archives/partial"),
        ] {
            std::fs::create_dir_all(folder).map_err(ServerError::file("create", folder))?;
        }
        let file = root.join("apt.conf");
        std::fs::write(&file, configuration(root)).map_err(ServerError::file("write", &file))?;
        Ok(Self {
            root: root.to_owned(),
            downloads,
        })
    }

    fn tool(&self, verb: &str) -> Tool {
        let configuration = self.root.join("apt.conf");
        Tool::new("apt-get")
            .env("LC_ALL", "C")
            .arg("-q")
            .arg("-c")
            .arg(configuration)
            .arg(verb)
    }
}

/// The options that keep apt inside `root`. They stand in a file because only a file can clear
/// lists: the hooks that some images run after an update empty the system's own cache.
fn configuration(root: &Path) -> String {
    let at = |folder: &str| root.join(folder).display().to_string();
    let options = [
        ("Dir::State", at("state")),
        ("Dir::Cache", at("cache")),
        ("Dir::State::status", "/var/lib/dpkg/status".to_owned()),
        ("Debug::NoLocking", "true".to_owned()),
        ("APT::Sandbox::User", "root".to_owned()),
        ("APT::Install-Recommends", "false".to_owned()),
        ("Acquire::Languages", "none".to_owned()),
        ("Acquire::Retries", "2".to_owned()),
        ("Acquire::http::Timeout", "30".to_owned()),
        ("Acquire::https::Timeout", "30".to_owned()),
    ];
    let hooks = ["Pre-Invoke", "Post-Invoke", "Post-Invoke-Success"];
    let cleared = hooks
        .map(|hook| format!("#clear APT::Update::{hook};\n"))
        .concat();
    options.iter().fold(cleared, |text, (name, value)| {
        text + &format!("{name} \"{value}\";\n")
    })
}

/// Name and version of every package that a simulated installation would add:
/// `Inst redis-server (5:7.0.15-1 Debian:12/stable [amd64])`, with the installed version in
/// brackets before the parenthesis when it would be an upgrade.
fn planned(simulation: &str) -> Vec<(&str, &str)> {
    simulation
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
            let (_, version) = rest.split_once('(')?;
            Some((name, version.split_ascii_whitespace().next()?))
        })
        .collect()
}

fn not_planned(package: &str) -> ServerError {
    ServerError::Machine(format!(
        "apt would not install {package}; it is installed already, but its programs are not where \
         they belong"
    ))
}

fn archives(folder: &Path) -> Result<Vec<PathBuf>, ServerError> {
    let entries = std::fs::read_dir(folder).map_err(ServerError::file("read", folder))?;
    let mut archives: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    archives.sort();
    Ok(archives)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_of_a_simulation_is_read() {
        let simulation = "Reading package lists...\n\
            Inst libssl3 [3.0.1-1] (3.0.17-1 Debian-Security:12/stable [amd64]) []\n\
            Inst redis-tools (5:7.0.15-1~deb12u10 Debian:12/oldstable [amd64])\n\
            Inst broken\n\
            Conf redis-tools (5:7.0.15-1~deb12u10 Debian:12/oldstable [amd64])\n";
        assert_eq!(
            planned(simulation),
            [
                ("libssl3", "3.0.17-1"),
                ("redis-tools", "5:7.0.15-1~deb12u10")
            ]
        );
    }

    #[test]
    fn apt_is_kept_out_of_the_system_folders() {
        let folder = tempfile::tempdir().unwrap();
        let apt = Apt::new(folder.path()).unwrap();
        let file = folder.path().join("apt.conf");
        let line = apt.tool("update").line();
        assert_eq!(line, format!("apt-get -q -c {} update", file.display()));
        let text = std::fs::read_to_string(file).unwrap();
        let state = folder.path().join("state");
        assert!(
            text.contains(&format!("Dir::State \"{}\";\n", state.display())),
            "{text}"
        );
        assert!(
            text.contains("#clear APT::Update::Post-Invoke;\n"),
            "{text}"
        );
    }

    #[test]
    fn only_library_folders_of_a_machine_kind_are_named() {
        let root = tempfile::tempdir().unwrap();
        for folder in [
            "usr/lib/x86_64-linux-gnu",
            "usr/lib/postgresql",
            "lib/x86_64-linux-gnu",
        ] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let path = library_path(root.path());
        let found: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let expected = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];
        assert_eq!(found, expected.map(|folder| root.path().join(folder)));
    }
}
