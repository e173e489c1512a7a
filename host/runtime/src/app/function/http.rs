//! Functions that HTTP requests trigger.

use std::collections::BTreeMap;

use hyper::Method;
use nightshift_bindings::function_json::{AuthLevel, DataType, HttpTrigger};
use nightshift_bindings::host_json::HttpMode;
use nightshift_bindings::problem::ConfigProblem;
use nightshift_bindings::route::{RouteError, RouteTemplate};
use nightshift_bindings::substitution::resolve_names;

use super::{Context, Function, ReadFunction, ServiceBusOutputs};

/// What no route may begin with: these paths are the host's own.
const RESERVED: &str = "admin";

/// The first segments of the host's other pages, which a route can meet only without a prefix.
const OWN_PAGES: [&str; 3] = ["admin", "healthz", "metrics"];

/// A function with an `httpTrigger`.
#[derive(Debug, Clone)]
pub(crate) struct HttpFunction {
    /// The folder's name.
    pub(crate) name: String,
    /// The trigger binding's name.
    pub(crate) binding: String,
    /// The name of the binding for the answer, if there is one.
    pub(crate) output: Option<String>,
    /// The form that binding names.
    pub(crate) output_type: DataType,
    /// The route with its prefix.
    pub(crate) route: RouteTemplate,
    /// The methods; empty for all.
    pub(crate) methods: Vec<Method>,
    pub(crate) auth_level: AuthLevel,
    /// What the handler gets of a request.
    pub(crate) mode: HttpMode,
    pub(crate) outputs: ServiceBusOutputs,
}

impl HttpFunction {
    /// Whether the function answers `method`.
    pub(crate) fn takes(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }

    /// A method that both functions take, or `any` if both take all.
    fn shared_method(&self, other: &Self) -> Option<String> {
        if self.methods.is_empty() && other.methods.is_empty() {
            return Some("any method".to_owned());
        }
        let mut methods = self.methods.iter().chain(&other.methods);
        let shared = methods.find(|method| self.takes(method) && other.takes(method));
        shared.map(ToString::to_string)
    }
}

/// Puts the prefix before the route and reads the whole.
pub(super) fn resolve(
    context: Context<'_>,
    trigger: &HttpTrigger,
) -> Result<HttpFunction, Vec<ConfigProblem>> {
    let (file, host_json) = (context.file, context.host_json);
    let route = resolve_route(&context, trigger)
        .map_err(|what| vec![file.trigger_problem("route", what)])?;
    let is_plain = file.bindings.len() == 2 && file.http_output().is_some();
    let wanted = host_json
        .custom_handler
        .as_ref()
        .map(|handler| handler.http_mode);
    Ok(HttpFunction {
        name: context.name.to_owned(),
        binding: trigger.name.clone(),
        output: file.http_output().map(|output| output.name.clone()),
        output_type: file
            .http_output()
            .map(|output| output.data_type)
            .unwrap_or_default(),
        route,
        methods: trigger
            .methods
            .iter()
            .filter_map(|method| method.parse().ok())
            .collect(),
        auth_level: trigger.auth_level,
        mode: wanted.filter(|_| is_plain).unwrap_or_default(),
        outputs: context.outputs,
    })
}

/// The route with its prefix, or what is wrong with it.
fn resolve_route(context: &Context<'_>, trigger: &HttpTrigger) -> Result<RouteTemplate, String> {
    let text = |error: RouteError| error.to_string();
    let route = match &trigger.route {
        Some(route) => resolve_names(route, |name| context.lookup.value(name))
            .map_err(|error| error.to_string())?,
        None => context.name.to_owned(),
    };
    let start = route.get(..RESERVED.len());
    if start.is_some_and(|start| start.eq_ignore_ascii_case(RESERVED)) {
        return Err(format!(
            "must not begin with {RESERVED:?}, which is the host's own"
        ));
    }
    let own = RouteTemplate::parse(&route).map_err(text)?;
    let prefix = context.host_json.http.route_prefix.as_str();
    let route = if prefix.is_empty() {
        own
    } else {
        RouteTemplate::parse(&format!("{prefix}/{route}")).map_err(text)?
    };
    let first = route.first_literal();
    if first.is_some_and(|first| OWN_PAGES.contains(&first)) {
        return Err(format!("{route} is a page of the host's own"));
    }
    Ok(route)
}

/// Pairs of functions between which no request can decide.
pub(super) fn shared_routes(functions: &[ReadFunction]) -> Vec<String> {
    let mut by_shape: BTreeMap<String, Vec<&HttpFunction>> = BTreeMap::new();
    let mut problems = Vec::new();
    for (function, file) in functions {
        let Function::Http(function) = function else {
            continue;
        };
        let others = by_shape.entry(function.route.shape()).or_default();
        for other in &*others {
            if let Some(method) = other.shared_method(function) {
                let what = format!(
                    "{} {} is the route of the function {}, too",
                    method, function.route, other.name
                );
                let problem = file.trigger_problem("route", what);
                // A route of `host.json` has no place in a file of its own.
                let is_own = problem.file.ends_with("function.json");
                problems.push(if is_own {
                    problem.to_string()
                } else {
                    format!("{}: {}", problem.file.display(), problem.what)
                });
            }
        }
        others.push(function);
    }
    problems
}
