//! The `customHandler` section: the process that runs the functions.

use std::time::Duration;

use crate::function_json::AuthLevel;
use crate::reader::Reader;

/// How long the handler may take to listen on its port, unless the file says otherwise.
const DEFAULT_INITIALIZATION_TIMEOUT: Duration = Duration::from_secs(30);

/// What the handler gets of a request to a function with nothing but an HTTP trigger and an HTTP
/// output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpMode {
    /// The envelope with `Data` and `Metadata`, as every other function.
    #[default]
    Envelope,
    /// The caller's own request, as `enableForwardingHttpRequest` has it.
    Forward,
    /// The caller's own request, streamed, as `enableProxyingHttpRequest` has it.
    Proxy,
}

/// The section `customHandler`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CustomHandler {
    /// The process to start.
    pub description: HandlerDescription,
    /// How long the process may take to listen; 30 seconds when not given.
    pub initialization_timeout: Duration,
    /// The fixed port to give to the process; the host picks a free one when not given.
    pub port: Option<u16>,
    /// What the handler gets of a request to a plain HTTP function.
    pub http_mode: HttpMode,
    /// HTTP functions without a `function.json`, in the order of the file.
    pub routes: Vec<HandlerRoute>,
}

/// One of `customHandler.http.routes`: an HTTP function that has no `function.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerRoute {
    /// The route below the prefix; `%NAME%` is not resolved yet.
    pub route: String,
    /// Who may call.
    pub auth_level: AuthLevel,
}

/// The section `customHandler.description`. `%NAME%` is not expanded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerDescription {
    /// The executable: a path relative to the app root, an absolute path, or a name on `PATH`.
    pub default_executable_path: String,
    /// Its arguments. The real host joins them with spaces into one command line, unquoted.
    pub arguments: Vec<String>,
    /// The directory to start it in, relative to the app root, which is also the default.
    pub working_directory: Option<String>,
    /// A directory in which a relative executable is looked for, too.
    pub worker_directory: Option<String>,
    /// Whether lines on the standard error are errors; true unless the file says otherwise.
    pub stderr_is_errors_only: bool,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Option<CustomHandler> {
    const EXECUTABLE: &str = "customHandler:description:defaultExecutablePath";
    if reader.is_absent("customHandler") {
        return None;
    }
    let default_executable_path = reader.text(EXECUTABLE).unwrap_or_default();
    if reader.is_absent(EXECUTABLE) {
        reader.problem(EXECUTABLE, "is missing: name the handler's executable");
    }
    let description = HandlerDescription {
        default_executable_path,
        arguments: reader.texts("customHandler:description:arguments"),
        working_directory: reader.text("customHandler:description:workingDirectory"),
        worker_directory: reader.text("customHandler:description:workerDirectory"),
        stderr_is_errors_only: reader.boolean(
            "customHandler:description:useStdErrorStreamForErrorsOnly",
            true,
        ),
    };
    Some(CustomHandler {
        description,
        initialization_timeout: reader
            .time_span("customHandler:initializationTimeout")
            .unwrap_or(DEFAULT_INITIALIZATION_TIMEOUT),
        port: reader.number("customHandler:port", 1, u16::MAX),
        http_mode: read_http_mode(reader),
        routes: read_routes(reader),
    })
}

fn read_routes(reader: &mut Reader<'_>) -> Vec<HandlerRoute> {
    const SECTION: &str = "customHandler:http";
    let level = |reader: &mut Reader<'_>, path: &str| reader.choice(path, AuthLevel::NAMES);
    let default = level(reader, &format!("{SECTION}:defaultAuthorizationLevel"));
    let mut routes = Vec::new();
    for index in reader.members(&format!("{SECTION}:routes")) {
        let path = format!("{SECTION}:routes:{index}");
        let auth_level = level(reader, &format!("{path}:authorizationLevel"));
        let path = format!("{path}:route");
        if reader.is_absent(&path) {
            reader.problem(&path, "is missing: write a route, such as \"{*path}\"");
        }
        if let Some(route) = reader.text(&path) {
            routes.push(HandlerRoute {
                route,
                auth_level: auth_level.or(default).unwrap_or_default(),
            });
        }
    }
    routes
}

/// Proxying wins over forwarding.
fn read_http_mode(reader: &mut Reader<'_>) -> HttpMode {
    let forwards = reader.boolean("customHandler:enableForwardingHttpRequest", false);
    if reader.boolean("customHandler:enableProxyingHttpRequest", false) {
        HttpMode::Proxy
    } else if forwards {
        HttpMode::Forward
    } else {
        HttpMode::Envelope
    }
}
