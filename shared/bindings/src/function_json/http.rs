//! The bindings `httpTrigger` and `http`.

use super::{DataType, Trace};

/// The methods that a route can be asked with.
const METHODS: [&str; 8] = [
    "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE",
];

/// Who may call an HTTP function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum AuthLevel {
    /// Everybody.
    Anonymous,
    /// Who knows a key of the function or of the host.
    #[default]
    Function,
    /// Who knows the master key.
    Admin,
}

impl AuthLevel {
    /// The levels by name.
    pub(crate) const NAMES: &[(&str, Self)] = &[
        ("anonymous", Self::Anonymous),
        ("function", Self::Function),
        ("admin", Self::Admin),
    ];
}

/// An `httpTrigger`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpTrigger {
    /// The binding's name, under which the request travels in `Data`.
    pub name: String,
    /// The route below the prefix, an ASP.NET Core template in which `%NAME%` is not resolved yet;
    /// the function's name when there is none.
    pub route: Option<String>,
    /// The methods in upper case; empty for all.
    pub methods: Vec<String>,
    /// Who may call.
    pub auth_level: AuthLevel,
}

/// An `http` output: the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpOutput {
    /// The binding's name, under which the answer travels in `Outputs`; `$return` for
    /// `ReturnValue`.
    pub name: String,
    /// With `binary`, a text that happens to be base64 stays one (the real host decodes it
    /// otherwise).
    pub data_type: DataType,
}

pub(super) fn read_trigger(trace: &mut Trace<'_, '_>, name: String) -> HttpTrigger {
    trace.require_direction("in");
    HttpTrigger {
        name,
        route: trace.text("route").filter(|route| !route.trim().is_empty()),
        methods: read_methods(trace),
        auth_level: trace
            .choice("authLevel", AuthLevel::NAMES)
            .unwrap_or_default(),
    }
}

pub(super) fn read_output(trace: &mut Trace<'_, '_>, name: String) -> HttpOutput {
    trace.require_direction("out");
    HttpOutput {
        name,
        data_type: trace.data_type(),
    }
}

/// The methods, each once, in the order of the file.
fn read_methods(trace: &mut Trace<'_, '_>) -> Vec<String> {
    let list = trace.at("methods");
    let mut methods = Vec::new();
    for (index, method) in trace.reader.texts(&list).into_iter().enumerate() {
        let method = method.trim().to_ascii_uppercase();
        if !METHODS.contains(&method.as_str()) {
            let what = format!(
                "there is no method {method:?}; expected {}",
                METHODS.join(", ")
            );
            trace.problem(&format!("methods:{index}"), what);
        } else if !methods.contains(&method) {
            methods.push(method);
        }
    }
    methods
}
