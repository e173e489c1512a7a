//! The envelope of an HTTP request.
//!
//! The request stands inline as an object under the trigger's name; query, headers, route
//! parameters and the properties of a JSON body are repeated in the metadata.

use std::collections::BTreeMap;

use base64_simd::STANDARD;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use super::body_properties::{BodyProperties, BodyValue};
use super::{Envelope, sys};
use crate::route::RouteValues;

/// A request's body as the envelope carries it.
#[derive(Debug, Clone, Copy)]
pub enum HttpBody<'a> {
    /// A text; `is_json` says whether its content type is.
    Text {
        /// The text.
        text: &'a str,
        /// Whether its properties become metadata.
        is_json: bool,
    },
    /// Bytes, which travel in base64.
    Bytes(&'a [u8]),
}

/// A request on its way into an envelope.
#[derive(Debug, Clone, Copy)]
pub struct HttpInvocation<'a> {
    /// The full address as it was asked for.
    pub url: &'a str,
    /// The method.
    pub method: &'a str,
    /// The decoded query, in its order.
    pub query: &'a [(String, String)],
    /// Names and values in their order.
    pub headers: &'a [(String, String)],
    /// What the route gave.
    pub params: &'a RouteValues,
    /// The name and the level of the key that the caller showed, if one was asked for.
    pub key: Option<(&'a str, &'a str)>,
    /// The body; `None` where the real host binds none.
    pub body: Option<HttpBody<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'a> {
    url: &'a str,
    method: &'a str,
    query: BTreeMap<&'a str, String>,
    headers: BTreeMap<&'a str, Vec<&'a str>>,
    params: BTreeMap<&'a str, Option<&'a str>>,
    identities: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

impl Envelope<'_> {
    /// The `POST` body of an invocation by an HTTP request.
    pub fn encode_http(&self, request: &HttpInvocation<'_>) -> Result<Vec<u8>, serde_json::Error> {
        let data = Request {
            url: request.url,
            method: request.method,
            query: joined(request.query),
            headers: grouped(request.headers),
            params: request
                .params
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_deref()))
                .collect(),
            identities: vec![identity(request.key)],
            body: request.body.map(|body| match body {
                HttpBody::Text { text, .. } => text.to_owned(),
                HttpBody::Bytes(bytes) => STANDARD.encode_to_string(bytes),
            }),
        };
        let mut metadata = metadata(request)?;
        metadata.insert("sys".to_owned(), to_raw_value(&sys(self))?);
        let mut whole: BTreeMap<&str, Value> = BTreeMap::new();
        let mut named = Map::new();
        named.insert(self.binding.to_owned(), serde_json::to_value(data)?);
        whole.insert("Data", Value::Object(named));
        // The metadata keep the body's own spelling of numbers, so they are not parsed again.
        let mut out = serde_json::to_vec(&whole)?;
        out.pop();
        out.extend_from_slice(b",\"Metadata\":");
        serde_json::to_writer(&mut out, &metadata)?;
        out.push(b'}');
        Ok(out)
    }
}

/// What the metadata say besides `sys`: the body's properties, then the query and the route over
/// them, then the whole query and the headers.
fn metadata(
    request: &HttpInvocation<'_>,
) -> Result<BTreeMap<String, Box<RawValue>>, serde_json::Error> {
    let mut metadata = BTreeMap::new();
    let query = joined(request.query);
    if let Some(HttpBody::Text {
        text,
        is_json: true,
    }) = request.body
    {
        for (name, value) in BodyProperties::parse(text).iter() {
            let raw = match value {
                BodyValue::Text(None) => continue,
                BodyValue::Text(Some(text)) => twice(text)?,
                BodyValue::Object(object) => (*object).to_owned(),
            };
            metadata.insert(name.clone().into_owned(), raw);
        }
    }
    for (name, value) in &query {
        metadata.insert((*name).to_owned(), twice(value)?);
    }
    for (name, value) in request.params {
        if let Some(value) = value {
            metadata.insert(name.clone(), twice(value)?);
        }
    }
    // The real host leaves out every member whose name ends like this.
    metadata.retain(|name, _| !name.to_lowercase().ends_with("trigger"));
    let headers: BTreeMap<&str, String> = grouped(request.headers)
        .into_iter()
        .map(|(name, values)| (name, values.join(",")))
        .collect();
    metadata.insert("Headers".to_owned(), to_raw_value(&headers)?);
    metadata.insert("Query".to_owned(), to_raw_value(&query)?);
    Ok(metadata)
}

/// A text as JSON inside a JSON string.
fn twice(text: &str) -> Result<Box<RawValue>, serde_json::Error> {
    to_raw_value(&serde_json::to_string(text)?)
}

/// Several values of one name become one, with commas between them.
fn joined(pairs: &[(String, String)]) -> BTreeMap<&str, String> {
    grouped(pairs)
        .into_iter()
        .map(|(name, values)| (name, values.join(",")))
        .collect()
}

fn grouped(pairs: &[(String, String)]) -> BTreeMap<&str, Vec<&str>> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in pairs {
        groups.entry(name).or_default().push(value);
    }
    groups
}

/// The caller as .NET describes one: anonymous, or known by a key.
fn identity(key: Option<(&str, &str)>) -> Value {
    const CLAIMS: &str = "http://schemas.microsoft.com/2017/07/functions/claims/";
    let claims = key.map_or_else(Vec::new, |(name, level)| {
        [("authlevel", level), ("keyid", name)]
            .map(|(kind, value)| {
                serde_json::json!({"Type": format!("{CLAIMS}{kind}"), "Value": value})
            })
            .to_vec()
    });
    serde_json::json!({
        "AuthenticationType": key.map(|_| "WebJobsAuthLevel"),
        "IsAuthenticated": key.is_some(),
        "Actor": null,
        "BootstrapContext": null,
        "Claims": claims,
        "Label": null,
        "Name": null,
        "NameClaimType": "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name",
        "RoleClaimType": "http://schemas.microsoft.com/ws/2008/06/identity/claims/role",
    })
}
