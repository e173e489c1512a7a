//! Which paths there are, who may use them, and who answers.

use futures_util::future::BoxFuture;

use crate::access::Role;
use crate::ask::{Answer, Ask};
use crate::problem::{Kind, Problem};
use crate::{
    audit, dead_letters, functions, health, limits, messages, openapi, queues, redrive, runs,
    schedules, settings,
};

/// Answers a request.
type Answering = for<'a> fn(&'a Ask<'a>) -> BoxFuture<'a, Answer>;

/// Something that can be asked for.
pub(crate) struct Operation {
    pub(crate) method: &'static str,
    /// Below `ops`, with parameters in braces.
    pub(crate) path: &'static str,
    /// The least role that may ask for it.
    pub(crate) least: Role,
    pub(crate) answer: Answering,
}

macro_rules! operations {
    ($($method:ident $path:literal $least:ident $answer:path;)*) => {
        /// All of them.
        pub(crate) const OPERATIONS: &[Operation] = &[$(Operation {
            method: stringify!($method),
            path: $path,
            least: Role::$least,
            answer: |ask| Box::pin($answer(ask)),
        }),*];
    };
}

operations! {
    GET "/openapi.json" Reader openapi::serve;
    GET "/health" Reader health::show;
    GET "/settings" Reader settings::list;
    GET "/functions" Reader functions::list;
    GET "/functions/{function}" Reader functions::show;
    POST "/functions/{function}/pause" Operator functions::pauses::pause;
    POST "/functions/{function}/resume" Operator functions::pauses::resume;
    POST "/functions/{function}/run" Operator functions::requests::run;
    POST "/functions/{function}/backfill" Operator functions::requests::backfill;
    GET "/schedules" Reader schedules::list;
    GET "/schedules/{function}/next" Reader schedules::next;
    GET "/schedules/{function}/ticks" Reader schedules::ticks;
    GET "/runs" Reader runs::list;
    GET "/runs/{key}" Reader runs::show;
    GET "/messages" Reader messages::list;
    GET "/messages/{key}" Reader messages::show;
    POST "/messages/{key}/cancel" Operator messages::cancel;
    GET "/queues" Reader queues::list;
    GET "/dead-letters" Reader dead_letters::list;
    GET "/dead-letters/groups" Reader dead_letters::groups;
    POST "/dead-letters/redrive" Operator redrive::redrive;
    POST "/dead-letters/undo" Operator redrive::undo;
    POST "/dead-letters/discard" Admin redrive::discard;
    GET "/dead-letters/{key}" Reader dead_letters::show;
    PUT "/dead-letters/{key}" Admin dead_letters::edit;
    GET "/limits" Reader limits::list;
    PUT "/limits/rates/{name}" Operator limits::change::set_rate;
    DELETE "/limits/rates/{name}" Operator limits::change::reset_rate;
    PUT "/limits/places/{function}" Operator limits::change::set_places;
    DELETE "/limits/places/{function}" Operator limits::change::reset_places;
    GET "/audit" Reader audit::list;
    GET "/audit/verify" Reader audit::verify;
}

/// The operation that `method` and `path`, the segments below `ops`, ask for, with the values of its
/// parameters.
pub(crate) fn find(
    method: &str,
    path: &[String],
) -> Result<(&'static Operation, Vec<String>), Problem> {
    let mut methods = Vec::new();
    for operation in OPERATIONS {
        if let Some(parameters) = matches(operation.path, path) {
            if operation.method == method {
                return Ok((operation, parameters));
            }
            // What is found first is what the path means.
            let is_other = methods
                .first()
                .is_some_and(|(path, _)| *path != operation.path);
            if !is_other {
                methods.push((operation.path, operation.method));
            }
        }
    }
    let path = path.join("/");
    if methods.is_empty() {
        let what = format!("{path:?} is no path of this API; openapi.json describes all");
        return Err(Problem::not_found(what));
    }
    let methods: Vec<&str> = methods.into_iter().map(|(_, method)| method).collect();
    let what = format!("{path:?} takes {}, not {method}", methods.join(" and "));
    Err(Problem::new(Kind::MethodNotAllowed, what))
}

fn matches(template: &str, path: &[String]) -> Option<Vec<String>> {
    let mut parameters = Vec::new();
    let mut given = path.iter();
    for wanted in template.split('/').skip(1) {
        let given = given.next()?;
        if wanted.starts_with('{') {
            parameters.push(given.clone());
        } else if wanted != given {
            return None;
        }
    }
    given.next().is_none().then_some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: &str, path: &str) -> Result<(&'static str, Vec<String>), Kind> {
        let path: Vec<String> = path.split('/').map(str::to_owned).collect();
        match find(method, &path) {
            Ok((operation, parameters)) => Ok((operation.path, parameters)),
            Err(problem) => Err(problem.kind),
        }
    }

    #[test]
    fn a_path_leads_to_its_operation() {
        assert_eq!(
            found("GET", "dead-letters/groups"),
            Ok(("/dead-letters/groups", vec![]))
        );
        let (path, parameters) = found("PUT", "dead-letters/7").unwrap();
        assert_eq!(
            (path, parameters),
            ("/dead-letters/{key}", vec!["7".to_owned()])
        );
        assert_eq!(found("GET", "nothing"), Err(Kind::NotFound));
        assert_eq!(found("GET", ""), Err(Kind::NotFound));
        assert_eq!(found("GET", "runs/1/2"), Err(Kind::NotFound));
        assert_eq!(found("DELETE", "runs"), Err(Kind::MethodNotAllowed));
    }

    #[test]
    fn whoever_only_reads_changes_nothing() {
        for operation in OPERATIONS {
            assert_eq!(
                operation.method == "GET",
                operation.least == Role::Reader,
                "{}",
                operation.path
            );
        }
    }
}
