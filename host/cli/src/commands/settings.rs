//! `nightshift settings`: every setting, where it comes from, and what is wrong with it.
//!
//! The list names the settings of all our processes, because they share one environment. A name
//! that starts with `NIGHTSHIFT_` and is not on it is a problem, as it is for each process.

use nightshift_settings::{Environment, PREFIX, Reader, Source};
use serde_json::json;

use crate::output;

/// The connection string of the message broker; the sample functions name it.
pub(crate) const BUS: &str = "ServiceBusConnection";
/// The connection string of blob storage, under the name that the Functions host has for it.
pub(crate) const STORAGE: &str = "AzureWebJobsStorage";
/// Another name for it, for environments in which the host's own storage is a different one.
pub(crate) const BLOB: &str = "NIGHTSHIFT_BLOB_CONNECTION";
/// The database.
pub(crate) const POSTGRES: &str = "NIGHTSHIFT_POSTGRES_URL";
/// The cache.
pub(crate) const REDIS: &str = "NIGHTSHIFT_REDIS_URL";
/// Where the admin API is, and with what commands ask it: with a key, or with a token.
pub(crate) const API_URL: &str = "NIGHTSHIFT_API_URL";
pub(crate) const API_KEY: &str = "NIGHTSHIFT_API_KEY";
pub(crate) const API_TOKEN: &str = "NIGHTSHIFT_API_TOKEN";

/// One setting.
struct Setting {
    name: &'static str,
    /// What holds when it is not set, for people.
    default: &'static str,
    is_secret: bool,
    meaning: &'static str,
}

const fn plain(name: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting {
        name,
        default,
        is_secret: false,
        meaning,
    }
}

const fn secret(name: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting {
        name,
        default,
        is_secret: true,
        meaning,
    }
}

/// Every setting of every process, sorted by what it is about.
const SETTINGS: [Setting; 44] = [
    secret(
        POSTGRES,
        "a private one in `up`",
        "database of the application and of the jobs",
    ),
    plain(
        "NIGHTSHIFT_POSTGRES_MAX_CONNECTIONS",
        "8",
        "connections that one process holds at most",
    ),
    secret(
        REDIS,
        "a private one in `up`",
        "Redis, or a node of a cluster: slots of rate limits, boards",
    ),
    plain(
        "NIGHTSHIFT_REDIS__CREDENTIAL",
        "the password in the URL",
        "managedidentity or workloadidentity: its Entra ID tokens are the password",
    ),
    plain(
        "NIGHTSHIFT_REDIS__CLIENTID",
        "the host's own identity",
        "which identity or application that is",
    ),
    plain(
        "NIGHTSHIFT_REDIS__MANAGEDIDENTITYRESOURCEID",
        "the host's own identity",
        "which identity that is, by its resource id",
    ),
    plain(
        "NIGHTSHIFT_REDIS__TENANTID",
        "AZURE_TENANT_ID",
        "the tenant of that application",
    ),
    secret(
        "NIGHTSHIFT_REDIS__CLIENTSECRET",
        "none",
        "secret of that application, instead of NIGHTSHIFT_REDIS__CREDENTIAL",
    ),
    secret(STORAGE, "a private one in `up`", "blob storage"),
    secret(
        BLOB,
        "AzureWebJobsStorage",
        "blob storage of the jobs, if it is another one",
    ),
    secret(BUS, "a private one in `up`", "message broker"),
    secret(
        "NIGHTSHIFT_BROKER_KEY",
        "any key is accepted",
        "key that clients of our broker must hold",
    ),
    plain(
        "NIGHTSHIFT_HOST_MODE",
        "default",
        "`strict` reproduces the Azure host's quirks",
    ),
    plain(
        "NIGHTSHIFT_HOST_SHUTDOWN_GRACE_SECONDS",
        "30",
        "patience with invocations at a stop",
    ),
    plain(
        "NIGHTSHIFT_HOST_BATCH_BYTES",
        "16777216",
        "bytes of message bodies in one invocation",
    ),
    plain(
        "NIGHTSHIFT_HOST_BATCHES_IN_FLIGHT",
        "2",
        "concurrent batches of one function",
    ),
    plain(
        "NIGHTSHIFT_HOST_LISTEN",
        "ASPNETCORE_URLS",
        "address and port of HTTP functions and admin pages",
    ),
    plain(
        "NIGHTSHIFT_HOST_KEYS_DIR",
        "no keys",
        "folder with one file per key of HTTP functions",
    ),
    plain(
        "NIGHTSHIFT_HOST_STATE_DIR",
        ".nightshift-host in the app",
        "folder of what timers remember",
    ),
    plain(
        "NIGHTSHIFT_BATCH_DEADLINE_SECONDS",
        "20",
        "how long the handler works on one batch",
    ),
    plain(
        "NIGHTSHIFT_MAX_INVOCATION_BYTES",
        "536870912",
        "largest invocation the handler reads",
    ),
    plain(
        "NIGHTSHIFT_RELEASED_AT",
        "the handler's start",
        "when this release was deployed: the newest one's schedules count",
    ),
    secret(
        "NIGHTSHIFT_PINGS",
        "nobody is told",
        "who is told of the ends of ticks: schedule=https://…, schedule:failed=https://… and so on",
    ),
    plain(
        "NIGHTSHIFT_PING_NETWORKS",
        "only the Internet",
        "private networks in which those may be, such as 10.0.0.0/8; http:// is allowed there",
    ),
    secret(
        "NIGHTSHIFT_OPS_KEYS",
        "nobody may use the admin API",
        "keys of the admin API, name:role:key and so on; roles are Reader, Operator, Admin",
    ),
    plain(
        "NIGHTSHIFT_OPS_ENTRA_TENANT",
        "no tokens are accepted",
        "id of the Entra tenant whose access tokens the admin API accepts",
    ),
    plain(
        "NIGHTSHIFT_OPS_ENTRA_AUDIENCE",
        "no tokens are accepted",
        "id of the admin API as an application of that tenant",
    ),
    plain(
        "NIGHTSHIFT_OPS_ENTRA_AUTHORITY",
        "https://login.microsoftonline.com",
        "address of Entra ID, such as that of another cloud",
    ),
    plain(
        "NIGHTSHIFT_OPS_ALLOWED_IPS",
        "any",
        "networks from which the admin API may be used, such as 10.0.0.0/8,fd00::/8",
    ),
    plain(
        "NIGHTSHIFT_OPS_TRUST_CLIENT_PRINCIPAL",
        "0",
        "1: the front end's x-ms-client-principal says who uses the admin API",
    ),
    plain(
        API_URL,
        "of the stack that runs here",
        "admin API that commands ask, such as https://my-app.azurewebsites.net/api/ops",
    ),
    secret(
        API_KEY,
        "of the stack that runs here",
        "key with which commands ask the admin API",
    ),
    secret(
        API_TOKEN,
        "none",
        "Entra ID token with which commands ask the admin API, instead of a key",
    ),
    plain(
        "NIGHTSHIFT_EXIT_ON_STDIN_EOF",
        "0",
        "1: the handler ends when its input closes",
    ),
    plain(
        "NIGHTSHIFT_LOG",
        "info",
        "what to log, such as `info,sqlx=warn`",
    ),
    plain(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "nothing is exported",
        "collector of traces and metrics, such as http://127.0.0.1:4318",
    ),
    secret(
        "OTEL_EXPORTER_OTLP_HEADERS",
        "none",
        "what requests to the collector carry, name=value,name=value, such as its key",
    ),
    plain(
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "http/protobuf",
        "the one protocol that is spoken",
    ),
    plain(
        "OTEL_SERVICE_NAME",
        "nightshift-handler, -host, -broker, -send",
        "what a process is called in traces",
    ),
    plain(
        "OTEL_METRIC_EXPORT_INTERVAL",
        "60000",
        "milliseconds between two exports of metrics",
    ),
    plain(
        "OTEL_TRACES_SAMPLER",
        "parentbased_always_on",
        "which traces are exported, such as `parentbased_traceidratio`",
    ),
    plain(
        "OTEL_TRACES_SAMPLER_ARG",
        "1",
        "share of the traces for a sampler with a ratio",
    ),
    plain(
        "FUNCTIONS_CUSTOMHANDLER_PORT",
        "set by the host",
        "port that the handler answers on",
    ),
    plain(
        "FUNCTIONS_APP_ROOT_PATH",
        "set by the host",
        "folder of the function app",
    ),
];

/// The names that a command which reads only some settings leaves to others: the table above, and
/// what `servers exec` sets for tests.
pub(crate) const ELSEWHERE: &[&str] = &{
    let mut names = [""; SETTINGS.len() + 1];
    let mut index = 0;
    while index < SETTINGS.len() {
        names[index] = SETTINGS[index].name;
        index += 1;
    }
    names[index] = "NIGHTSHIFT_TEST_";
    names
};

/// A setting as it stands in one source.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
struct Row {
    name: &'static str,
    /// `environment` or `default`.
    from: &'static str,
    /// What is in force, as it may be shown.
    value: String,
    meaning: &'static str,
}

pub(super) fn run(is_json: bool) -> anyhow::Result<u8> {
    let rows = rows(&Environment);
    if is_json {
        output::line(json!({ "settings": rows }));
    } else {
        output::line(table(&rows));
    }
    Reader::new(&Environment).finish(ELSEWHERE)?;
    Ok(0)
}

fn rows(source: &dyn Source) -> Vec<Row> {
    SETTINGS
        .iter()
        .map(|setting| {
            let (from, value) = match source.get(setting.name) {
                Some(_) if setting.is_secret => ("environment", "(secret)".to_owned()),
                Some(value) => ("environment", value),
                None => ("default", setting.default.to_owned()),
            };
            Row {
                name: setting.name,
                from,
                value,
                meaning: setting.meaning,
            }
        })
        .collect()
}

fn table(rows: &[Row]) -> String {
    let heading = ["SETTING", "FROM", "VALUE", "MEANING"];
    let cells: Vec<[&str; 4]> = std::iter::once(heading)
        .chain(
            rows.iter()
                .map(|row| [row.name, row.from, &row.value, row.meaning]),
        )
        .collect();
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max();
    let widths = [0, 1, 2].map(|column| width(column).unwrap_or(0));
    let lines: Vec<String> = cells
        .iter()
        .map(|[name, from, value, meaning]| {
            let [first, second, third] = widths;
            format!("{name:first$}  {from:second$}  {value:third$}  {meaning}")
        })
        .collect();
    format!(
        "{}\nNames that start with {PREFIX} and are not listed are refused.",
        lines.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use nightshift_settings::MapSource;

    use super::*;

    #[test]
    fn the_value_of_a_secret_is_never_shown() {
        let source: MapSource = SETTINGS
            .iter()
            .map(|setting| (setting.name, "hunter2"))
            .collect();
        for (row, setting) in rows(&source).iter().zip(&SETTINGS) {
            assert_eq!(row.from, "environment");
            assert_eq!(row.value == "hunter2", !setting.is_secret, "{}", row.name);
        }
    }

    #[test]
    fn a_misspelt_name_is_refused_and_a_tests_own_is_not() {
        let source: MapSource = [
            ("NIGHTSHIFT_POSTGRES_ULR", "x"),
            ("NIGHTSHIFT_TEST_POSTGRES", "x"),
        ]
        .into_iter()
        .collect();
        let problems = Reader::new(&source).finish(ELSEWHERE).unwrap_err();
        assert_eq!(problems.0.len(), 1);
        assert_eq!(problems.0[0].name, "NIGHTSHIFT_POSTGRES_ULR");
    }

    #[test]
    fn columns_line_up() {
        let text = table(&rows(&MapSource::default()));
        let at = |line: &str, word: &str| line.find(word);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(at(lines[0], "FROM"), at(lines[1], "default"));
    }
}
