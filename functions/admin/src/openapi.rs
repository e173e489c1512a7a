//! The description of the API, `OpenAPI` 3.1: made from the same types that answer, committed, and served as it
//! was committed.

use bytes::Bytes;
use http::{HeaderValue, Response, header};

use crate::ask::{Answer, Ask};

/// The committed document; a test compares it with the code.
const DOCUMENT: &str = include_str!("../openapi.json");

/// This description of the API.
#[utoipa::path(get, path = "/openapi.json", tag = "openapi",
    responses((status = 200, description = "An OpenAPI 3.1 document", body = Object)))]
pub(crate) async fn serve(_ask: &Ask<'_>) -> Answer {
    let mut response = Response::new(Bytes::from_static(DOCUMENT.as_bytes()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use serde_json::{Map, Value, json};
    use utoipa::OpenApi;

    use super::*;
    use crate::problem::{Kind, Sent};
    use crate::routes::OPERATIONS;

    #[derive(OpenApi)]
    #[openapi(
        info(
            title = "Nightshift admin API",
            description = "What ran, what failed and why, what comes next and who changed what; and how to put it right.",
        ),
        paths(
            super::serve,
            crate::health::show,
            crate::settings::list,
            crate::functions::list,
            crate::functions::show,
            crate::functions::pauses::pause,
            crate::functions::pauses::resume,
            crate::functions::requests::run,
            crate::functions::requests::backfill,
            crate::schedules::list,
            crate::schedules::next,
            crate::schedules::ticks,
            crate::runs::list,
            crate::runs::show,
            crate::messages::list,
            crate::messages::show,
            crate::messages::cancel,
            crate::queues::list,
            crate::dead_letters::list,
            crate::dead_letters::groups,
            crate::dead_letters::show,
            crate::dead_letters::edit,
            crate::redrive::redrive,
            crate::redrive::undo,
            crate::redrive::discard,
            crate::limits::list,
            crate::limits::change::set_rate,
            crate::limits::change::reset_rate,
            crate::limits::change::set_places,
            crate::limits::change::reset_places,
            crate::audit::list,
            crate::audit::verify,
        ),
        components(schemas(Sent<'static>))
    )]
    struct Described;

    /// The problems that an operation may answer with, beside its own answer.
    fn problems(method: &str) -> Vec<Kind> {
        let is_for_writers = |kind: &Kind| {
            matches!(
                kind,
                Kind::Conflict | Kind::Changed | Kind::TooLarge | Kind::UnsupportedMediaType
            )
        };
        let all = Kind::ALL.into_iter();
        all.filter(|kind| *kind != Kind::MethodNotAllowed)
            .filter(|kind| method != "get" || !is_for_writers(kind))
            .collect()
    }

    /// The document: what the types say, with roles, problems and ways in for all operations alike.
    fn document() -> Value {
        let mut document = serde_json::to_value(Described::openapi()).unwrap();
        document["info"] = json!({
            "title": document["info"]["title"],
            "description": document["info"]["description"],
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        });
        document["servers"] = json!([{ "url": "/api/ops" }]);
        document["security"] = json!([{ "key": [] }, { "token": [] }]);
        document["components"]["securitySchemes"] = json!({
            "key": { "type": "apiKey", "in": "header", "name": "x-functions-key" },
            "token": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
        });
        let schema = json!({ "$ref": "#/components/schemas/Problem" });
        for operation in OPERATIONS {
            let method = operation.method.to_lowercase();
            let found = &mut document["paths"][operation.path][&method];
            assert!(
                found.is_object(),
                "{method} {} is not described",
                operation.path
            );
            let least = operation.least.to_string();
            let said = found["description"].as_str().or(found["summary"].as_str());
            found["description"] = json!(format!("{}\n\nNeeds the role {least}.", said.unwrap()));
            found["x-role"] = json!(least);
            found["operationId"] = json!(id(operation.method, operation.path));
            for kind in problems(&method) {
                let content = json!({ "application/problem+json": { "schema": schema } });
                let problem = json!({ "description": kind.title(), "content": content });
                found["responses"][kind.status().as_str()] = problem;
            }
        }
        document
    }

    fn id(method: &str, path: &str) -> String {
        let words = path.split(['/', '-', '.']).filter(|word| !word.is_empty());
        let words = words.map(|word| word.trim_matches(['{', '}']));
        let all: Vec<&str> = std::iter::once(method).chain(words).collect();
        all.join("_").to_lowercase()
    }

    #[test]
    fn every_path_is_described_and_every_description_has_a_path() {
        let document = document();
        let described: BTreeSet<(String, String)> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                let methods: &Map<String, Value> = methods.as_object().unwrap();
                methods
                    .keys()
                    .map(|method| (path.clone(), method.to_uppercase()))
            })
            .collect();
        let routed = OPERATIONS.iter();
        let routed: BTreeSet<_> = routed
            .map(|operation| (operation.path.to_owned(), operation.method.to_owned()))
            .collect();
        assert_eq!(described, routed);
    }

    #[test]
    fn the_committed_document_is_the_one_of_the_code() {
        let now = serde_json::to_string_pretty(&document()).unwrap() + "\n";
        if std::env::var_os("NIGHTSHIFT_TEST_BLESS").is_some() {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
            std::fs::write(file, &now).unwrap();
            return;
        }
        assert!(
            DOCUMENT == now,
            "functions/admin/openapi.json is not what the code says; to rewrite it: NIGHTSHIFT_TEST_BLESS=1 cargo test -p nightshift-admin openapi"
        );
    }
}
