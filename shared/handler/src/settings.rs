//! The settings of a handler process.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_cache::RedisSettings;
use nightshift_connection::{Connection, resolve_identity};
use nightshift_identity::EntraCredential;
use nightshift_postgres::PostgresSettings;
use nightshift_settings::{Lookup, Reader};
use nightshift_telemetry::TelemetrySettings;
use nightshift_time::SystemClock;

/// Everything a handler needs to know before it starts.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HandlerSettings {
    /// The loopback port to answer on; the host chooses it.
    pub port: u16,
    /// The folder with `host.json` and the functions' folders, when the host names it.
    pub app_root: Option<PathBuf>,
    /// How long a batch may take, waiting for the database included.
    pub batch_deadline: Duration,
    /// The longest invocation that is read, in bytes.
    pub max_invocation_bytes: usize,
    /// Whether the end of standard input means that the host is gone.
    pub exits_on_stdin_eof: bool,
    /// What it says about itself, and to whom.
    pub telemetry: TelemetrySettings,
    /// Where the database is.
    pub postgres: PostgresSettings,
    /// Where the slots of rate limits are kept, if that is known.
    pub redis: Option<RedisSettings>,
    /// Where the queues are.
    pub bus: Connection,
    /// When this release was deployed, if that is known: of two releases with different schedules the
    /// newer one's count. Otherwise the start of the process counts.
    pub released_at: Option<DateTime<Utc>>,
}

/// The one connection of all functions, and the name of the setting that says where it leads.
pub(crate) const CONNECTION: &str = "ServiceBusConnection";

/// The settings that have us go to Redis with an identity. They are members of a section, as those of Service Bus.
const CREDENTIAL: &str = "NIGHTSHIFT_REDIS__CREDENTIAL";
const SECRET: &str = "NIGHTSHIFT_REDIS__CLIENTSECRET";

impl HandlerSettings {
    /// Setting names that other processes in the same environment read.
    pub const KNOWN_ELSEWHERE: &'static [&'static str] = &[
        "NIGHTSHIFT_API_",
        "NIGHTSHIFT_HOST_",
        "NIGHTSHIFT_BROKER_",
        "NIGHTSHIFT_BLOB_",
        CREDENTIAL,
        "NIGHTSHIFT_REDIS__CLIENTID",
        "NIGHTSHIFT_REDIS__MANAGEDIDENTITYRESOURCEID",
        "NIGHTSHIFT_REDIS__TENANTID",
        SECRET,
        "NIGHTSHIFT_TEST_",
    ];

    /// Reads all settings; `None` means that problems were written down.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let port = reader.required("FUNCTIONS_CUSTOMHANDLER_PORT");
        let app_root = reader.maybe("FUNCTIONS_APP_ROOT_PATH");
        let seconds = reader.optional("NIGHTSHIFT_BATCH_DEADLINE_SECONDS", 20_u64);
        if !(1..=150).contains(&seconds) {
            let what = "must be 1 to 150: at most half of the longest lock, which is 5 minutes";
            reader.problem("NIGHTSHIFT_BATCH_DEADLINE_SECONDS", what);
        }
        let max_invocation_bytes = reader.optional("NIGHTSHIFT_MAX_INVOCATION_BYTES", 512 << 20);
        let exits_on_stdin_eof = reader.optional("NIGHTSHIFT_EXIT_ON_STDIN_EOF", 0_u8) == 1;
        let telemetry = TelemetrySettings::read(reader, "nightshift-handler");
        let postgres = PostgresSettings::read(reader);
        let redis = redis(reader);
        let released_at = reader.maybe("NIGHTSHIFT_RELEASED_AT");
        let bus = Connection::resolve(CONNECTION, &Lookup::new(reader.source()))
            .map_err(|what| reader.problem(CONNECTION, what));
        Some(Self {
            port: port?,
            app_root,
            batch_deadline: Duration::from_secs(seconds),
            max_invocation_bytes,
            exits_on_stdin_eof,
            telemetry,
            postgres: postgres?,
            redis,
            bus: bus.ok()?,
            released_at,
        })
    }
}

/// Where Redis is, and as whom we go there: with an identity if one of [`CREDENTIAL`] and [`SECRET`] asks for
/// it, as for Service Bus.
fn redis(reader: &mut Reader<'_>) -> Option<RedisSettings> {
    let redis = RedisSettings::read(reader)?;
    let lookup = Lookup::new(reader.source());
    let is_set = |name: &str| {
        lookup
            .get(name)
            .is_some_and(|value| !value.trim().is_empty())
    };
    if !is_set(CREDENTIAL) && !is_set(SECRET) {
        return Some(redis);
    }
    let section = CREDENTIAL.split("__").next().unwrap_or_default();
    let with_identity = resolve_identity(section, &lookup).and_then(|identity| {
        redis.with_credential(EntraCredential::new(identity, SystemClock::shared()))
    });
    with_identity
        .map_err(|what| reader.problem(RedisSettings::URL, what))
        .ok()
}
