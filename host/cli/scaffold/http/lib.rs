//! `sample-job-api`: how many messages wait for another try, as JSON.
//!
//! What: `GET` of its route answers `{"waiting": 7}`. When: whenever somebody asks. Why it is safe to run
//! twice: it only reads; what must happen once belongs into a message. While the database is away it
//! answers 503.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use nightshift_handler::{HttpFunction, Registry, RouteValues};
use serde_json::{Value, json};
use sqlx::PgPool;

/// The function.
#[derive(Debug, Clone, Copy, Default)]
pub struct Api;

impl HttpFunction for Api {
    const NAME: &'static str = "sample-job-api";
    const CONFIG: &'static str = include_str!("../api/function.json");

    async fn answer(
        &self,
        _request: Request<Bytes>,
        _route: RouteValues,
        app: &Registry,
    ) -> Response<Bytes> {
        match waiting(app.pool()).await {
            Ok(waiting) => answer(StatusCode::OK, &json!({ "waiting": waiting })),
            Err(error) => {
                tracing::error!(error = %error, "the waiting messages cannot be counted");
                let what = json!({ "error": "the database cannot be asked" });
                answer(StatusCode::SERVICE_UNAVAILABLE, &what)
            }
        }
    }
}

async fn waiting(pool: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT count(*) FROM nightshift.open_message")
        .fetch_one(pool)
        .await
}

fn answer(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use nightshift_testkit::Workbench;

    use super::*;

    #[tokio::test]
    async fn nothing_waits_in_an_empty_database() {
        let bench = Workbench::new(DateTime::UNIX_EPOCH, Ok).await;
        let app = bench.another_process(|registry| registry.with_http(Api));
        let request = Request::new(Bytes::new());
        let response = Api.answer(request, RouteValues::new(), &app).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.body(), &Bytes::from_static(br#"{"waiting":0}"#));
        bench.remove().await;
    }
}
