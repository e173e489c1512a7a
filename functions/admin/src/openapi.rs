//! The description of the API, OpenAPI 3.1: made from the same types that answer, committed, and served as it
//! was committed.

use bytes::Bytes;
use http::{HeaderValue, Response, header};

use crate::ask::{Answer, Ask};

/// The committed document; a test compares it with the code.
const DOCUMENT: &str = include_str!("../openapi.json");

/// This description of the API.
#[cfg_attr(test, utoipa::path(get, path = "/openapi.json", tag = "openapi",
    responses((status = 200, description = "An OpenAPI 3.1 document", body = Object))))]
pub(crate) async fn serve(_ask: &Ask<'_>) -> Answer {
    let mut response = Response::new(Bytes::from_static(DOCUMENT.as_bytes()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}
