//! The `customHandler` section: the process that runs the functions.

use std::time::Duration;

use crate::reader::Reader;

/// How long the handler may take to listen on its port, unless the file says otherwise.
const DEFAULT_INITIALIZATION_TIMEOUT: Duration = Duration::from_secs(30);

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
    /// Whether plain HTTP functions get the caller's request instead of the envelope.
    pub forwards_http_requests: bool,
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
        forwards_http_requests: reader.boolean("customHandler:enableForwardingHttpRequest", false),
    })
}
