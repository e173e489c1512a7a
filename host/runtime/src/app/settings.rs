//! The host's own settings, `NIGHTSHIFT_HOST_…`.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use nightshift_settings::{Reader, Source};

use super::listen;

/// The names that belong to the host. The app's own settings share its environment and are none
/// of its business.
const PREFIX: &str = "NIGHTSHIFT_HOST_";

/// The real host's limit of a request's body, in bytes.
const REQUEST_BYTES: u64 = 104_857_600;

/// How the host behaves around the wire; the crate's documentation has the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// With SIGTERM, several batches in flight, patience with a crashing handler.
    #[default]
    Default,
    /// Like the real host, quirks included.
    Strict,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::Strict => "strict",
        })
    }
}

/// A text that names no mode.
#[derive(Debug, thiserror::Error)]
#[error("expected default or strict")]
pub struct UnknownMode;

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        match text {
            "default" => Ok(Self::Default),
            "strict" => Ok(Self::Strict),
            _ => Err(UnknownMode),
        }
    }
}

/// The host's own settings.
#[derive(Debug, Clone)]
pub(crate) struct HostSettings {
    /// `NIGHTSHIFT_HOST_MODE`, default `default`.
    pub(crate) mode: Mode,
    /// `NIGHTSHIFT_HOST_SHUTDOWN_GRACE_SECONDS`, default 30: how long a stop waits for invocations.
    pub(crate) shutdown_grace: Duration,
    /// `NIGHTSHIFT_HOST_BATCH_BYTES`, default 16 MiB: the most bytes of bodies in one invocation. A
    /// larger single message goes alone.
    pub(crate) batch_bytes: usize,
    /// `NIGHTSHIFT_HOST_BATCHES_IN_FLIGHT`, default 2: concurrent invocations of a function with
    /// `cardinality: many`; always 1 in strict mode.
    pub(crate) batches_in_flight: usize,
    /// `NIGHTSHIFT_HOST_LISTEN`, or else `ASPNETCORE_URLS`: where requests are answered. Without
    /// either, `127.0.0.1:7071` if there is an HTTP function, and nowhere if there is none.
    pub(crate) listen: Option<SocketAddr>,
    /// `NIGHTSHIFT_HOST_KEYS_DIR`: the folder with one file for each key.
    pub(crate) keys_folder: Option<PathBuf>,
    /// `NIGHTSHIFT_HOST_STATE_DIR`, default `.nightshift-host` in the app: where timers keep what
    /// they remember, and their locks. Hosts that share it share their timers.
    pub(crate) state_folder: PathBuf,
    /// `FUNCTIONS_REQUEST_BODY_SIZE_LIMIT`, default 104,857,600: the most bytes of a request's
    /// body.
    pub(crate) request_bytes: u64,
    /// `WEBSITE_AUTH_ENABLED`: whether a platform in front of the host vouches for the headers that
    /// name the caller.
    pub(crate) trusts_principal_headers: bool,
}

/// Hides all names but the host's, so that only those can be unknown.
struct OwnNames<'a>(&'a dyn Source);

impl Source for OwnNames<'_> {
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name)
    }

    fn names(&self) -> Vec<String> {
        self.0
            .names()
            .into_iter()
            .filter(|name| name.starts_with(PREFIX))
            .collect()
    }
}

pub(super) fn read(
    app_root: &Path,
    source: &dyn Source,
    problems: &mut Vec<String>,
) -> HostSettings {
    let own = OwnNames(source);
    let mut reader = Reader::new(&own);
    let mode = reader.optional("NIGHTSHIFT_HOST_MODE", Mode::Default);
    let mut bounded = |name: &str, default: u32, most: u32| {
        let value = reader.optional(name, default);
        if !(1..=most).contains(&value) {
            reader.problem(name, format!("expected 1 to {most}, found {value}"));
        }
        value
    };
    let grace = bounded("NIGHTSHIFT_HOST_SHUTDOWN_GRACE_SECONDS", 30, 3_600);
    let batch_bytes = bounded(
        "NIGHTSHIFT_HOST_BATCH_BYTES",
        16 * 1024 * 1024,
        1024 * 1024 * 1024,
    );
    let batches = bounded("NIGHTSHIFT_HOST_BATCHES_IN_FLIGHT", 2, 64);
    let listen = listen::read(&mut reader);
    let keys_folder: Option<String> = reader.maybe("NIGHTSHIFT_HOST_KEYS_DIR");
    let state: Option<String> = reader.maybe("NIGHTSHIFT_HOST_STATE_DIR");
    let request_bytes = reader.optional("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", REQUEST_BYTES);
    let trusts: Option<String> = reader.maybe("WEBSITE_AUTH_ENABLED");
    if let Err(found) = reader.finish(&[]) {
        problems.extend(
            found
                .0
                .iter()
                .map(|problem| format!("{}: {}", problem.name, problem.what)),
        );
    }
    let as_usize = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    HostSettings {
        mode,
        shutdown_grace: Duration::from_secs(grace.into()),
        batch_bytes: as_usize(batch_bytes),
        batches_in_flight: if mode == Mode::Strict {
            1
        } else {
            as_usize(batches)
        },
        listen,
        keys_folder: keys_folder.map(PathBuf::from),
        state_folder: state.map_or_else(|| app_root.join(".nightshift-host"), PathBuf::from),
        request_bytes,
        trusts_principal_headers: trusts.is_some_and(|text| text.eq_ignore_ascii_case("true")),
    }
}
