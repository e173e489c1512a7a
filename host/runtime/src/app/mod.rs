//! The app to host, read and checked before anything starts.
//!
//! Reading never stops at the first problem: settings, `host.json` and every `function.json` are
//! read, what this host cannot do yet is refused by name, and all of it comes as one
//! [`HostProblems`]. After a successful load, starting can fail only for reasons outside the app.

mod executable;
mod function;
mod keys;
mod listen;
mod local;
mod settings;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hyper::header::{HeaderName, HeaderValue};
use nightshift_bindings::MAX_FILE_BYTES;
use nightshift_bindings::host_json::{
    FunctionTimeout, HostJson, HttpOptions, ServiceBusOptions, SingletonOptions,
};
use nightshift_settings::Source;
use nightshift_time::{SharedClock, SystemClock};

pub(crate) use executable::HandlerCommand;
pub(crate) use function::{
    Function, HttpFunction, ServiceBusFunction, ServiceBusOutput, TimerFunction,
};
pub(crate) use keys::{
    Key, KeyScope, Keys, MASTER, MAX_KEY_BYTES, generate as generate_key, is_key_name,
};
use local::Layered;
use nightshift_settings::Lookup;
pub(crate) use settings::HostSettings;
pub use settings::Mode;

use crate::http::DEFAULT_LISTEN;

/// The smallest valid file.
const DEFAULT_HOST_JSON: &str = r#"{"version": "2.0"}"#;

/// Everything that keeps an app from starting; displays as one line for each problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostProblems(pub Vec<String>);

impl fmt::Display for HostProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 {
            "problem"
        } else {
            "problems"
        };
        write!(f, "{} {plural} with the function app:", self.0.len())?;
        self.0
            .iter()
            .try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for HostProblems {}

/// An app that can be started.
#[derive(Debug, Clone)]
pub struct HostConfig {
    pub(crate) app_root: PathBuf,
    pub(crate) settings: HostSettings,
    /// Where HTTP functions answer, unless the settings say so.
    pub(crate) web_address: SocketAddr,
    pub(crate) function_timeout: FunctionTimeout,
    pub(crate) service_bus: ServiceBusOptions,
    pub(crate) http: HttpOptions,
    pub(crate) singleton: SingletonOptions,
    /// What is not as the app asks for, and no reason not to start.
    pub(crate) warnings: Vec<String>,
    /// What callers have to know.
    pub(crate) keys: Keys,
    pub(crate) functions: Vec<Function>,
    /// Absent only when there is no function to run.
    pub(crate) handler: Option<HandlerCommand>,
    /// The settings that the handler gets in its environment.
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) clock: SharedClock,
}

impl HostConfig {
    /// Reads the app in the folder `app_root`; `source` holds the host's own settings
    /// (`NIGHTSHIFT_HOST_…`), the app's settings and connection strings, and overrides of
    /// `host.json`. What the app's `local.settings.json` says counts where `source` says nothing.
    pub fn load(app_root: &Path, source: &dyn Source) -> Result<Self, HostProblems> {
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        let source = Layered::read(app_root, source, &mut problems, &mut warnings);
        let settings = settings::read(app_root, &source, &mut problems);
        let lookup = Lookup::new(&source);
        let Some(host_json) = read_host_json(app_root, &lookup, &mut problems) else {
            // The functions' own problems can be told all the same.
            if let Ok(defaults) = HostJson::parse(app_root, DEFAULT_HOST_JSON, []) {
                function::read_all(app_root, &defaults, &lookup, &mut problems, &mut warnings);
            }
            return Err(HostProblems(problems));
        };
        if !host_json.log_levels.is_empty() {
            warnings.push(format!(
                "{}: logging.logLevel: is not applied by this host; NIGHTSHIFT_LOG says what is \
                 logged",
                app_root.join("host.json").display()
            ));
        }
        let functions =
            function::read_all(app_root, &host_json, &lookup, &mut problems, &mut warnings);
        let keys = Keys::read(settings.keys_folder.as_deref(), &mut problems);
        let handler = match &host_json.custom_handler {
            _ if functions.is_empty() => None,
            Some(section) => executable::resolve(app_root, section, &lookup, &mut problems),
            None => {
                let file = app_root.join("host.json");
                problems.push(format!(
                    "{}: customHandler: is missing: this host runs functions through a custom \
                     handler",
                    file.display()
                ));
                None
            }
        };
        if !problems.is_empty() {
            return Err(HostProblems(problems));
        }
        Ok(Self {
            app_root: app_root.to_path_buf(),
            settings,
            web_address: source.listen.unwrap_or(DEFAULT_LISTEN),
            function_timeout: host_json.function_timeout,
            service_bus: host_json.service_bus,
            http: host_json.http,
            singleton: host_json.singleton,
            warnings,
            keys,
            functions,
            handler,
            environment: lookup.into_pairs(),
            clock: SystemClock::shared(),
        })
    }

    /// The names of the functions that will run, in alphabetical order.
    pub fn function_names(&self) -> Vec<&str> {
        self.functions.iter().map(Function::name).collect()
    }

    /// Where requests are answered: where the settings say, or, with an HTTP function, where
    /// `local.settings.json` does, or on the port of the Functions tools on this machine.
    pub(crate) fn listen_address(&self) -> Option<SocketAddr> {
        let mut functions = self.functions.iter();
        let is_web = functions.any(|function| matches!(function, Function::Http(_)));
        let listen = self.settings.listen;
        listen.or_else(|| is_web.then_some(self.web_address))
    }

    /// How the host behaves around the wire.
    pub fn mode(&self) -> Mode {
        self.settings.mode
    }
}

fn read_host_json(
    app_root: &Path,
    lookup: &Lookup,
    problems: &mut Vec<String>,
) -> Option<HostJson> {
    let file = app_root.join("host.json");
    let text = match read_text(&file) {
        Ok(text) => text,
        Err(problem) => {
            problems.push(problem);
            return None;
        }
    };
    match HostJson::parse(&file, &text, lookup.pairs()) {
        Ok(host_json) => {
            problems.extend(host_json.unsupported.iter().map(ToString::to_string));
            for (name, value) in &host_json.http.custom_headers {
                if name.parse::<HeaderName>().is_err() || value.parse::<HeaderValue>().is_err() {
                    problems.push(format!(
                        "{}: extensions.http.customHeaders.{name}: is no header that HTTP allows",
                        file.display()
                    ));
                }
            }
            Some(host_json)
        }
        Err(found) => {
            problems.extend(found.0.iter().map(ToString::to_string));
            None
        }
    }
}

/// The content of a configuration file, or a problem that names it.
fn read_text(file: &Path) -> Result<String, String> {
    let read = || {
        let mut bytes = Vec::new();
        // One byte more than is allowed, so that the parser can refuse the file by its size.
        let most = u64::try_from(MAX_FILE_BYTES)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        File::open(file)?.take(most).read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    let bytes = read().map_err(|error| format!("{}: cannot be read: {error}", file.display()))?;
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        format!("{}: is not UTF-8 from byte {offset} on", file.display())
    })
}

#[cfg(test)]
mod tests;
