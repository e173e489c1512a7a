//! The node `<entity>/$management`: operations on a queue that are not sending or receiving.

use nightshift_amqp::{Array, ElementType, Map, Timestamp, Value, condition, message::Body};

use super::{
    request::{Request, Response},
    state::Connection,
};
use crate::{address::EntityAddress, queue::LockToken};

/// The status of a lock that has ended.
const GONE: i32 = 410;

impl Connection {
    pub(super) fn on_management_request(
        &mut self,
        address: &EntityAddress,
        request: &Request,
    ) -> Response {
        match request.operation.as_str() {
            "com.microsoft:renew-lock" => self.renew_locks(address, &request.body),
            other => {
                let text = format!("the operation {other:?} is not supported by this broker yet");
                Response::failed(501, condition::NOT_IMPLEMENTED, text)
            }
        }
    }

    fn renew_locks(&self, address: &EntityAddress, body: &Body) -> Response {
        let Some(tokens) = lock_tokens(body) else {
            let text = "the body must be a map whose lock-tokens is an array of uuid";
            return Response::failed(400, condition::ARGUMENT_ERROR, text);
        };
        let Some(entity) = self.shared.namespace.get(&address.path) else {
            return Response::failed(404, condition::NOT_FOUND, "the queue is gone");
        };
        let now = self.shared.clock.now();
        let renewed: Result<Vec<Value>, _> = entity.with(|queue| {
            let renew = |token| {
                queue
                    .renew(now, token)
                    .map(Timestamp::from_millis)
                    .map(Value::from)
            };
            tokens.into_iter().map(renew).collect()
        });
        let expirations = renewed
            .ok()
            .and_then(|ends| Array::new(ElementType::Timestamp, ends));
        let Some(expirations) = expirations else {
            let text = "the lock has ended, or the message has been settled already";
            return Response::failed(GONE, condition::MESSAGE_LOCK_LOST, text);
        };
        let mut answer = Map::new();
        answer.insert("expirations", expirations);
        Response::ok(200, "OK", Value::Map(answer))
    }
}

fn lock_tokens(body: &Body) -> Option<Vec<LockToken>> {
    let Body::Value(Value::Map(map)) = body else {
        return None;
    };
    let items = map.get("lock-tokens")?.as_items()?;
    items
        .iter()
        .map(|item| item.as_uuid().map(LockToken::from_uuid))
        .collect()
}
