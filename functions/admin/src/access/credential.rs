//! What callers show to say who they are.

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request};

use super::{keys, principal};
use crate::problem::{Kind, Problem};

/// The parameter of the query in which the host itself takes keys.
const CODE: &str = "code";

/// The scheme of `Authorization`, and the space behind it.
const BEARER: &[u8] = b"Bearer ";

/// One credential, not yet checked.
pub(super) enum Credential<'a> {
    Key(&'a [u8]),
    Token(&'a [u8]),
    /// Only where the front end is trusted.
    ClientPrincipal(&'a [u8]),
}

impl<'a> Credential<'a> {
    /// The one that `request` shows, if it does.
    ///
    /// A front end that is trusted passes on the token that it has checked. Then its word counts.
    pub(super) fn of(
        request: &'a Request<Bytes>,
        trusts_front_end: bool,
    ) -> Result<Option<Self>, Problem> {
        let query = request.uri().query().unwrap_or_default();
        let mut parameters = url::form_urlencoded::parse(query.as_bytes());
        if parameters.any(|(name, _)| name.eq_ignore_ascii_case(CODE)) {
            return Err(Problem::bad_request(
                "a key belongs in the header x-functions-key: addresses, and with them the \
                 parameter code, are logged on their way; replace a key that was sent like this",
            ));
        }
        let headers = request.headers();
        let key = single(headers, keys::HEADER)?;
        let authorization = single(headers, AUTHORIZATION.as_str())?;
        let principal = if trusts_front_end {
            single(headers, principal::HEADER)?
        } else {
            None
        };
        match (key, authorization, principal) {
            (None, None, None) => Ok(None),
            (Some(key), None, None) => Ok(Some(Self::Key(key.as_bytes()))),
            (None, _, Some(principal)) => Ok(Some(Self::ClientPrincipal(principal.as_bytes()))),
            (None, Some(authorization), None) => {
                token(authorization).map(|token| Some(Self::Token(token)))
            }
            (Some(_), _, _) => Err(Problem::bad_request(
                "show either a key in the header x-functions-key or a bearer token, not both",
            )),
        }
    }
}

/// The value of the header `name`, which must not be there twice.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Problem::bad_request(format!(
            "the header {name} is there twice"
        ))),
    }
}

fn token(authorization: &HeaderValue) -> Result<&[u8], Problem> {
    let split = authorization.as_bytes().split_at_checked(BEARER.len());
    match split {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(BEARER) => Ok(token.trim_ascii()),
        _ => Err(Problem::new(
            Kind::Unauthenticated,
            "the header Authorization needs the scheme Bearer and a token",
        )),
    }
}
