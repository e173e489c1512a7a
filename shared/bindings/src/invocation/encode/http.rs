//! The envelope of an HTTP request.
//!
//! The request stands inline as an object under the trigger's name; query, headers, route
//! parameters and the properties of a JSON body are repeated in the metadata.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64_simd::STANDARD;
use serde::ser::{Error, Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::body_properties::{BodyProperties, BodyValue};
use super::{Envelope, Sys};
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
    pub headers: &'a [(String, Cow<'a, str>)],
    /// What the route gave.
    pub params: &'a RouteValues,
    /// The name and the level of the key that the caller showed, if one was asked for.
    pub key: Option<(&'a str, &'a str)>,
    /// The body; `None` where the real host binds none.
    pub body: Option<HttpBody<'a>>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document<'a> {
    data: Named<'a>,
    metadata: &'a BTreeMap<&'a str, Member<'a>>,
}

/// The request under the trigger's name.
struct Named<'a>(&'a str, Request<'a>);

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'a> {
    url: &'a str,
    method: &'a str,
    query: Joined<'a>,
    headers: Lists<'a>,
    params: Params<'a>,
    identities: [Identity<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'a, str>>,
}

/// What the route gave, by name.
struct Params<'a>(&'a RouteValues);

/// The caller as .NET describes one: anonymous, or known by a key.
#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct Identity<'a> {
    authentication_type: Option<&'a str>,
    is_authenticated: bool,
    actor: Option<()>,
    bootstrap_context: Option<()>,
    claims: Vec<Claim<'a>>,
    label: Option<()>,
    name: Option<()>,
    name_claim_type: &'a str,
    role_claim_type: &'a str,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct Claim<'a> {
    r#type: &'a str,
    value: &'a str,
}

/// A member of the metadata.
enum Member<'a> {
    /// A text, as JSON inside a JSON string.
    Twice(Cow<'a, str>),
    /// An object of the body, in the body's own spelling.
    Object(&'a RawValue),
    Joined(Joined<'a>),
    Sys(Sys<'a>),
}

/// Names and values in the order of the names; the values of one name in their own order.
struct Groups<'a>(Vec<(&'a str, &'a str)>);

/// Several values of one name are one, with commas between them.
struct Joined<'a>(&'a Groups<'a>);

/// The values of a name are a list.
struct Lists<'a>(&'a Groups<'a>);

struct List<'a>(&'a [(&'a str, &'a str)]);

impl Envelope<'_> {
    /// The `POST` body of an invocation by an HTTP request.
    pub fn encode_http(&self, request: &HttpInvocation<'_>) -> Result<Vec<u8>, serde_json::Error> {
        let query = Groups::new(request.query);
        let headers = Groups::new(request.headers);
        let properties = match request.body {
            Some(HttpBody::Text {
                text,
                is_json: true,
            }) => BodyProperties::parse(text),
            _ => BodyProperties::default(),
        };
        let mut metadata = parts(&properties, &query, request.params);
        metadata.insert("Headers", Member::Joined(Joined(&headers)));
        metadata.insert("Query", Member::Joined(Joined(&query)));
        metadata.insert("sys", Member::Sys(self.sys()));
        let data = Request {
            url: request.url,
            method: request.method,
            query: Joined(&query),
            headers: Lists(&headers),
            params: Params(request.params),
            identities: [identity(request.key)],
            body: request.body.map(|body| match body {
                HttpBody::Text { text, .. } => text.into(),
                HttpBody::Bytes(bytes) => STANDARD.encode_to_string(bytes).into(),
            }),
        };
        let mut out = Vec::with_capacity(estimate(request));
        let document = Document {
            data: Named(self.binding, data),
            metadata: &metadata,
        };
        serde_json::to_writer(&mut out, &document)?;
        Ok(out)
    }
}

/// The body's properties, then the query and the route over them.
fn parts<'a>(
    properties: &'a BodyProperties<'_>,
    query: &'a Groups<'_>,
    params: &'a RouteValues,
) -> BTreeMap<&'a str, Member<'a>> {
    let mut parts = BTreeMap::new();
    for (name, value) in properties.iter() {
        let member = match value {
            BodyValue::Text(None) => continue,
            BodyValue::Text(Some(text)) => Member::Twice(text.as_ref().into()),
            BodyValue::Object(object) => Member::Object(object),
        };
        parts.insert(name.as_ref(), member);
    }
    for (name, list) in query.iter() {
        parts.insert(name, Member::Twice(list.joined()));
    }
    for (name, value) in params {
        if let Some(value) = value {
            parts.insert(name, Member::Twice(value.into()));
        }
    }
    // The real host leaves out every member whose name ends like this.
    parts.retain(|name, _| !name.to_lowercase().ends_with("trigger"));
    parts
}

fn identity<'a>(key: Option<(&'a str, &'a str)>) -> Identity<'a> {
    const LEVEL: &str = "http://schemas.microsoft.com/2017/07/functions/claims/authlevel";
    const KEY: &str = "http://schemas.microsoft.com/2017/07/functions/claims/keyid";
    let claims = key.map_or_else(Vec::new, |(name, level)| {
        let claim = |(r#type, value)| Claim { r#type, value };
        [(LEVEL, level), (KEY, name)].map(claim).into()
    });
    Identity {
        authentication_type: key.map(|_| "WebJobsAuthLevel"),
        is_authenticated: key.is_some(),
        actor: None,
        bootstrap_context: None,
        claims,
        label: None,
        name: None,
        name_claim_type: "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name",
        role_claim_type: "http://schemas.microsoft.com/ws/2008/06/identity/claims/role",
    }
}

/// Roughly how many bytes `request` becomes.
fn estimate(request: &HttpInvocation<'_>) -> usize {
    const REST: usize = 1_024;
    let body = request.body.map_or(0, |body| match body {
        HttpBody::Text { text, .. } => text.len(),
        HttpBody::Bytes(bytes) => bytes.len() / 3 * 4,
    });
    let of_header = |(name, value): &(String, Cow<'_, str>)| name.len() + value.len() + 10;
    let headers: usize = request.headers.iter().map(of_header).sum();
    REST + request.url.len() * 3 + headers * 2 + body
}

impl<'a> Groups<'a> {
    fn new(pairs: &'a [(String, impl AsRef<str>)]) -> Self {
        let pairs = pairs.iter();
        let mut pairs: Vec<_> = pairs
            .map(|(name, value)| (name.as_str(), value.as_ref()))
            .collect();
        pairs.sort_by_key(|(name, _)| *name);
        Self(pairs)
    }

    fn iter(&self) -> impl Iterator<Item = (&'a str, List<'_>)> {
        let groups = self.0.chunk_by(|one, next| one.0 == next.0);
        groups.map(|group| (group[0].0, List(group)))
    }
}

impl<'a> List<'a> {
    fn joined(&self) -> Cow<'a, str> {
        match self.0 {
            [(_, value)] => (*value).into(),
            values => {
                let values: Vec<&str> = values.iter().map(|(_, value)| *value).collect();
                values.join(",").into()
            }
        }
    }
}

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0, &self.1)?;
        map.end()
    }
}

impl Serialize for Params<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Serialize for Member<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Twice(text) => {
                let once = serde_json::to_string(text).map_err(S::Error::custom)?;
                serializer.serialize_str(&once)
            }
            Self::Object(object) => object.serialize(serializer),
            Self::Joined(joined) => joined.serialize(serializer),
            Self::Sys(sys) => sys.serialize(serializer),
        }
    }
}

impl Serialize for Joined<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, list)| (name, list.joined())))
    }
}

impl Serialize for Lists<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(_, value)| value))
    }
}
