//! HTTP functions without a `function.json`: the `customHandler.http.routes` of `host.json`.
//!
//! They are called `http-handler1` and so on, take seven methods, and have the trigger `req` and the
//! output `res`. As in the real host an app has either these or files of its own.

use std::path::Path;

use nightshift_bindings::function_json::{AuthLevel, Binding, FunctionJson};
use nightshift_bindings::host_json::{HandlerRoute, HostJson};
use serde_json::json;

use super::{Context, Function, ReadFunction, http};
use nightshift_settings::Lookup;

/// The methods of such a function.
const METHODS: [&str; 7] = ["get", "post", "put", "delete", "patch", "head", "options"];

/// The functions, and what is wrong with the others; `folders` are those with a `function.json`.
pub(super) fn read(
    app_root: &Path,
    host_json: &HostJson,
    lookup: &Lookup,
    folders: &[String],
) -> (Vec<ReadFunction>, Vec<String>) {
    let handler = host_json.custom_handler.as_ref();
    let routes = handler.map_or(&[][..], |handler| &handler.routes);
    let file = app_root.join("host.json");
    if let (Some(folder), false) = (folders.first(), routes.is_empty()) {
        let problem = format!(
            "{}: customHandler.http.routes: an app has either these routes or functions with a \
             function.json, and there is {folder}/function.json, too",
            file.display()
        );
        return (Vec::new(), vec![problem]);
    }
    let (mut functions, mut problems) = (Vec::new(), Vec::new());
    for (index, route) in routes.iter().enumerate() {
        let place = format!("{} (customHandler.http.routes[{index}])", file.display());
        let name = format!("http-handler{}", index + 1);
        match read_one(Path::new(&place), &name, route, host_json, lookup) {
            Ok(function) => functions.push(function),
            Err(found) => problems.extend(found.iter().map(|what| format!("{place}: {what}"))),
        }
    }
    (functions, problems)
}

/// The function that a file would describe.
fn read_one(
    place: &Path,
    name: &str,
    route: &HandlerRoute,
    host_json: &HostJson,
    lookup: &Lookup,
) -> Result<ReadFunction, Vec<String>> {
    let level = match route.auth_level {
        AuthLevel::Anonymous => "anonymous",
        AuthLevel::Function => "function",
        AuthLevel::Admin => "admin",
    };
    // A leading slash means nothing; an empty route would be the function's name.
    let route = route.route.trim_start_matches('/');
    if route.is_empty() {
        return Err(vec![
            "the route is empty: write {*path} for every path".to_owned(),
        ]);
    }
    let text = json!({"bindings": [
        {"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": level,
         "methods": METHODS, "route": route},
        {"type": "http", "direction": "out", "name": "res"},
    ]});
    let whats = |found: Vec<nightshift_bindings::problem::ConfigProblem>| {
        found
            .into_iter()
            .map(|problem| problem.what)
            .collect::<Vec<_>>()
    };
    let file = FunctionJson::parse(place, &text.to_string()).map_err(|found| whats(found.0))?;
    let context = Context {
        name,
        file: &file,
        outputs: [].into(),
        host_json,
        lookup,
    };
    let Some(Binding::HttpTrigger(trigger)) = file.trigger() else {
        return Err(Vec::new());
    };
    let function = http::resolve(context, trigger).map_err(whats)?;
    Ok((Function::Http(function), file))
}
