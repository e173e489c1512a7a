//! Programs out of Debian packages, downloaded and unpacked but not installed.
//!
//! `apt-get` is given private state and cache folders, so that it works without root and leaves
//! the system's lists, locks and caches alone; it still reads the system's sources and keys, and
//! checks signatures as always. Which packages are needed is asked of apt itself: a simulated
//! installation names the package and whatever of its dependencies this machine lacks. `dpkg -x`
//! then unpacks them, and the loader finds their libraries through `LD_LIBRARY_PATH`. A program that
//! this machine's release has too old a version of comes from another one, with its own C library.

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

/// The keys of all releases of Debian, which a machine has of the package `debian-archive-keyring`.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Says which system this is.
const OS_RELEASE: &str = "/etc/os-release";

/// Files of a private apt: where it finds packages, and which count as installed.
const SOURCES: &str = "sources.list";
const STATUS: &str = "status";

/// Downloads `package`, with those of its dependencies that this machine lacks, and unpacks all
/// into `target`. Returns the version of `package`.
pub(crate) async fn unpack(package: &str, target: &Path) -> Result<String, ServerError> {
    let apt = Apt::new(&target.join(".apt"), Sources::Machine)?;
    let is_wanted = |name: &str| !SUPERFLUOUS.iter().any(|prefix| name.starts_with(prefix));
    fetch(&apt, package, is_wanted, target).await
}

/// Downloads `package` of another `suite` of Debian than this machine's, with all libraries that it
/// needs down to the C library, and unpacks all into `target`. Its programs must be run with their
/// [`loader`]. Returns the version of `package`.
pub(crate) async fn unpack_of_suite(
    suite: &str,
    package: &str,
    target: &Path,
) -> Result<String, ServerError> {
    let mirror = mirror().await?;
    let line = format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n");
    let apt = Apt::new(&target.join(".apt"), Sources::Line(&line))?;
    let is_library = |name: &str| name.starts_with("lib") && !name.contains("perl");
    let is_wanted = |name: &str| name == package || name == "zlib1g" || is_library(name);
    fetch(&apt, package, is_wanted, target).await
}

/// The mirror from which this machine gets its release of Debian.
async fn mirror() -> Result<String, ServerError> {
    let targets = Tool::new("apt-get")
        .env("LC_ALL", "C")
        .args(["indextargets", "Created-By: Packages", "Component: main"])
        .args(["--format", "$(RELEASE) $(REPO_URI)"])
        .run()
        .await?;
    let release =
        std::fs::read_to_string(OS_RELEASE).map_err(ServerError::file("read", OS_RELEASE))?;
    mirror_of(&targets, &release).ok_or_else(|| {
        ServerError::Machine("the sources of apt name no mirror of this machine's Debian".into())
    })
}

/// The mirror among `targets`, lines with a suite and its place, for the machine that `release`
/// describes.
fn mirror_of(targets: &str, release: &str) -> Option<String> {
    let said = |name: &str| {
        let mut lines = release.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(value.trim_matches('"').to_owned())
    };
    let codename = said("VERSION_CODENAME").filter(|_| said("ID").as_deref() == Some("debian"))?;
    let mut targets = targets.lines().filter_map(|line| line.split_once(' '));
    let (_, mirror) = targets.find(|(suite, _)| *suite == codename || *suite == "stable")?;
    Some(mirror.to_owned())
}

/// Downloads what `apt` plans for `package` and `is_wanted` wants, and unpacks it into `target`.
async fn fetch(
    apt: &Apt,
    package: &str,
    is_wanted: impl Fn(&str) -> bool,
    target: &Path,
) -> Result<String, ServerError> {
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
        .filter(|(name, _)| is_wanted(name))
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
    std::env::join_paths(library_folders(root)).unwrap_or_default()
}

/// The loader that came with the C library below an unpacked `root`.
pub(crate) fn loader(root: &Path) -> Option<PathBuf> {
    let entries = library_folders(root)
        .into_iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok());
    let mut files = entries.flatten().flatten();
    let loader = files.find(|file| file.file_name().to_string_lossy().starts_with("ld-linux"));
    Some(loader?.path())
}

fn library_folders(root: &Path) -> Vec<PathBuf> {
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
    folders
}

/// Where apt finds packages.
#[derive(Debug, Clone, Copy)]
enum Sources<'a> {
    /// Where this machine finds them, for which its own packages count as installed.
    Machine,
    /// In the one place that a line of `sources.list` names; nothing counts as installed.
    Line(&'a str),
}

struct Apt {
    root: PathBuf,
    downloads: PathBuf,
}

impl Apt {
    fn new(root: &Path, sources: Sources<'_>) -> Result<Self, ServerError> {
        let downloads = root.join("downloads");
        for folder in [
            &downloads,
            &root.join("state/lists/partial"),
            &root.join("cache/archives/partial"),
        ] {
            std::fs::create_dir_all(folder).map_err(ServerError::file("create", folder))?;
        }
        let mut options = configuration(root);
        if let Sources::Line(line) = sources {
            options += &other_sources(root);
            write(&root.join(SOURCES), line)?;
            write(&root.join(STATUS), "")?;
        }
        write(&root.join("apt.conf"), &options)?;
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
    cleared + &written(&options)
}

/// What keeps apt from the machine's sources and from what is installed.
fn other_sources(root: &Path) -> String {
    let at = |file: &str| root.join(file).display().to_string();
    written(&[
        ("Dir::Etc::sourcelist", at(SOURCES)),
        ("Dir::Etc::sourceparts", "/dev/null".to_owned()),
        ("Dir::State::status", at(STATUS)),
    ])
}

fn written(options: &[(&str, String)]) -> String {
    let lines = options
        .iter()
        .map(|(name, value)| format!("{name} \"{value}\";\n"));
    lines.collect()
}

fn write(file: &Path, text: &str) -> Result<(), ServerError> {
    std::fs::write(file, text).map_err(ServerError::file("write", file))
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
        let apt = Apt::new(folder.path(), Sources::Machine).unwrap();
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
    fn with_another_source_apt_knows_neither_the_machines_nor_what_is_installed() {
        let folder = tempfile::tempdir().unwrap();
        Apt::new(folder.path(), Sources::Line("deb x y z\n")).unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let text = read("apt.conf");
        let (_, own) = text.split_once("Dir::Etc::sourcelist ").unwrap();
        assert!(
            own.contains("Dir::Etc::sourceparts \"/dev/null\";\n"),
            "{own}"
        );
        let status = folder.path().join(STATUS);
        let last = format!("Dir::State::status \"{}\";\n", status.display());
        assert!(own.ends_with(&last), "{own}");
        assert_eq!(
            (read(SOURCES).as_str(), read(STATUS).as_str()),
            ("deb x y z\n", "")
        );
    }

    #[test]
    fn the_mirror_is_that_of_the_machines_own_release() {
        let targets = "bookworm-security http://s/\nbookworm http://m/\n";
        let release = "ID=debian\nVERSION_CODENAME=bookworm\n";
        assert_eq!(mirror_of(targets, release).as_deref(), Some("http://m/"));
        let ubuntu = "ID=ubuntu\nVERSION_CODENAME=bookworm\n";
        assert_eq!(mirror_of(targets, ubuntu), None);
        let newer = "ID=debian\nVERSION_CODENAME=\"forky\"\n";
        assert_eq!(mirror_of(targets, newer), None);
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
        assert_eq!(loader(root.path()), None);
        let ld = root.path().join(expected[1]).join("ld-linux-x86-64.so.2");
        std::fs::write(&ld, "").unwrap();
        assert_eq!(loader(root.path()), Some(ld));
        assert_eq!(found, expected.map(|folder| root.path().join(folder)));
    }
}
