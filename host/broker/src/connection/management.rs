//! The node `<entity>/$management`: operations on a queue that are not sending or receiving.
//!
//! Names of operations and fields are those of the service's "request-response operations"; the
//! status of an answer is that of HTTP, and its error condition one of AMQP or Service Bus.

mod arguments;
mod browsing;
mod deferred;
mod scheduling;
mod sessions;

use std::sync::Arc;

use nightshift_amqp::{Array, ElementType, Map, Symbol, Timestamp, Value, condition};

use self::arguments::Arguments;
use super::{
    inbox,
    request::{Request, Response},
    settlements,
    state::Connection,
};
use crate::{
    address::EntityAddress,
    entity::Entity,
    queue::{QueueFull, SubQueue},
};

/// The status of a lock that has ended.
const GONE: i32 = 410;

/// An operation on one half of a queue that is being carried out.
struct Operation<'a> {
    connection: &'a Connection,
    entity: Arc<Entity>,
    sub_queue: SubQueue,
    arguments: Arguments<'a>,
}

/// Why an operation was not carried out.
#[derive(Debug, PartialEq)]
struct Refusal {
    status: i32,
    condition: Symbol,
    text: String,
}

impl Refusal {
    fn new(status: i32, condition: Symbol, text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            status,
            condition,
            text,
        }
    }

    fn lock_lost() -> Self {
        let text = "the lock has ended, or the message has been settled already";
        Self::new(GONE, condition::MESSAGE_LOCK_LOST, text)
    }

    fn session_lost() -> Self {
        let error = settlements::session_lost();
        Self::new(GONE, error.condition, error.description.unwrap_or_default())
    }

    fn full(full: QueueFull) -> Self {
        let error = inbox::queue_full(full);
        let is_busy = error.condition == condition::SERVER_BUSY;
        let status = if is_busy { 503 } else { 403 };
        Self::new(
            status,
            error.condition,
            error.description.unwrap_or_default(),
        )
    }
}

/// The body of an answer, or `None` when there is nothing to tell.
type Outcome = Result<Option<Value>, Refusal>;

impl Connection {
    pub(super) fn on_management_request(
        &self,
        address: &EntityAddress,
        request: &Request,
    ) -> Response {
        match self.carry_out(address, request) {
            Ok(Some(body)) => Response::ok(200, "OK", body),
            Ok(None) => Response::ok(204, "No content", Value::Null),
            Err(refusal) => Response::failed(refusal.status, refusal.condition, refusal.text),
        }
    }

    fn carry_out(&self, address: &EntityAddress, request: &Request) -> Outcome {
        let entity = self.shared.namespace.get(&address.path);
        let entity =
            entity.ok_or_else(|| Refusal::new(404, condition::NOT_FOUND, "the queue is gone"))?;
        let operation = Operation {
            connection: self,
            entity: Arc::clone(entity),
            sub_queue: address.sub_queue,
            arguments: Arguments::of(&request.body)?,
        };
        let name = request.operation.as_str();
        match name.strip_prefix("com.microsoft:") {
            Some("renew-lock") => operation.renew_locks(),
            Some("peek-message") => operation.peek(),
            Some("schedule-message") => operation.schedule(),
            Some("cancel-scheduled-message") => operation.cancel(),
            Some("receive-by-sequence-number") => operation.receive_deferred(),
            Some("update-disposition") => operation.settle(),
            Some("renew-session-lock") => operation.renew_session(),
            Some("get-session-state") => operation.session_state(),
            Some("set-session-state") => operation.set_session_state(),
            Some("get-message-sessions") => operation.list_sessions(),
            _ => {
                let text = format!("the operation {name:?} is not supported by this broker");
                Err(Refusal::new(501, condition::NOT_IMPLEMENTED, text))
            }
        }
    }
}

impl Operation<'_> {
    fn renew_locks(&self) -> Outcome {
        let tokens = self.arguments.lock_tokens()?;
        if self.has_sessions() {
            let text = "the messages of a session are locked as long as it is; renew that lock";
            return Err(Refusal::new(400, condition::NOT_ALLOWED, text));
        }
        let now = self.connection.shared.clock.now();
        let renewed: Result<Vec<Value>, _> = self.entity.with(|queue| {
            let renew = |token| {
                queue
                    .renew(now, token)
                    .map(Timestamp::from_millis)
                    .map(Value::from)
            };
            tokens.into_iter().map(renew).collect()
        });
        let ends = renewed.map_err(|_| Refusal::lock_lost())?;
        Ok(Some(array("expirations", ElementType::Timestamp, ends)))
    }
}

/// A map with one array in it. An empty array has its type all the same, for decoders that insist.
fn array(name: &str, element_type: ElementType, items: Vec<Value>) -> Value {
    let items = Array::new(element_type, items).map_or(Value::Null, Value::from);
    map([(name, items)])
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(Map::from_iter(entries))
}
