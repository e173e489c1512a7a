//! The node `$cbs`: claims-based security, that is, tokens.
//!
//! A client puts a token for every entity it wants to use, and again before it expires. An entity
//! that does not exist is reported here already, as the service does.

use nightshift_amqp::{Value, condition, message::Body};

use super::{
    request::{Request, Response},
    state::Connection,
};
use crate::{
    address::{Address, path},
    auth,
};

/// The only token type that can be checked without the service's directory.
const SAS_TOKEN: &str = "servicebus.windows.net:sastoken";

impl Connection {
    pub(super) fn on_cbs_request(&mut self, request: &Request) -> Response {
        if request.operation != "put-token" {
            let text = format!(
                "unknown operation {:?}; this node knows put-token",
                request.operation
            );
            return Response::failed(400, condition::NOT_IMPLEMENTED, text);
        }
        let Body::Value(Value::String(token)) = &request.body else {
            let text = "the body of put-token must be the token as a string";
            return Response::failed(400, condition::ARGUMENT_ERROR, text);
        };
        let key = self.shared.config.access_key.as_ref();
        if key.is_some() && request.text("type") != Some(SAS_TOKEN) {
            let text = format!("only tokens of the type {SAS_TOKEN} are accepted");
            return Response::failed(401, condition::UNAUTHORIZED_ACCESS, text);
        }
        match auth::check_token(key, token, self.shared.clock.now()) {
            Ok(grant) => {
                if let Some(missing) = self.missing_entity(request.text("name")) {
                    let text = format!("the messaging entity {missing:?} could not be found");
                    return Response::failed(404, condition::NOT_FOUND, text);
                }
                self.grants.add(grant);
                Response::ok(202, "Accepted", Value::Null)
            }
            Err(denied) => {
                tracing::info!(connection.id = self.id, error = %denied, "token refused");
                Response::failed(401, condition::UNAUTHORIZED_ACCESS, denied.to_string())
            }
        }
    }

    /// The path that a token is for, if it names an entity that does not exist.
    fn missing_entity(&self, audience: Option<&str>) -> Option<String> {
        let audience = audience?;
        let (Address::Entity(entity) | Address::Management(entity)) = Address::parse(audience)
        else {
            return None;
        };
        let is_host = path(audience).is_empty();
        let exists = self.shared.namespace.get(&entity.path).is_some();
        (!is_host && !exists).then_some(entity.path)
    }
}
