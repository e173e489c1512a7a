//! Requests to the nodes of the broker, and their answers.
//!
//! A request is a message with an application property `operation`; its answer goes to a link that
//! the client attached for it and carries the request's message-id, type and all, as its
//! correlation-id. Which link that is, clients show in three ways: the request's `reply-to` is the
//! address that the link's own end was given, or the link's name, or neither says anything and it is
//! the link of the same session that comes from the same node.

use bytes::{Bytes, BytesMut};
use nightshift_amqp::{
    Encode, Map, Symbol, Value, condition,
    engine::{Delivery, LinkId, NewDelivery, SessionId},
    message::{Body, Message, MessageError, MessageId, Properties, RawMessage},
    performative::{AmqpError, DeliveryState, Disposition, Role},
};

use super::{
    link::{Link, Node},
    outbox::OUTPUT_HIGH,
    state::{Connection, error_chain},
};

/// Answers that may wait for credit, per link, and the bytes that may wait for whatever reason. More
/// means that the client does not read, or asks for more than it can take.
const MAX_WAITING: usize = 256;
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// A request, as far as it is understood.
#[derive(Debug)]
pub(super) struct Request {
    message_id: Option<MessageId>,
    reply_to: Option<String>,
    pub(super) operation: String,
    pub(super) properties: Map,
    pub(super) body: Body,
}

/// An answer, whose status is that of HTTP.
#[derive(Debug, PartialEq)]
pub(super) struct Response {
    pub(super) status: i32,
    pub(super) description: String,
    pub(super) condition: Option<Symbol>,
    pub(super) body: Value,
}

impl Response {
    pub(super) fn ok(status: i32, description: &str, body: Value) -> Self {
        Self {
            status,
            description: description.to_owned(),
            condition: None,
            body,
        }
    }

    pub(super) fn failed(status: i32, condition: Symbol, description: impl Into<String>) -> Self {
        let description = description.into();
        Self {
            status,
            description,
            condition: Some(condition),
            body: Value::Null,
        }
    }
}

impl Request {
    fn read(payload: Bytes) -> Result<Self, MessageError> {
        let message = RawMessage::split(payload)?.decode()?;
        let Properties {
            message_id,
            reply_to,
            ..
        } = message.properties.unwrap_or_default();
        let properties = message.application_properties.unwrap_or_default();
        let operation = properties.get("operation").and_then(Value::as_str);
        let operation = operation.unwrap_or_default().to_owned();
        Ok(Self {
            message_id,
            reply_to,
            operation,
            properties,
            body: message.body,
        })
    }

    /// A text among the application properties.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.properties.get(name).and_then(Value::as_str)
    }
}

impl Connection {
    pub(super) fn on_request(&mut self, delivery: Delivery) {
        let Some(Link::Requests(link)) = self.links.get(&delivery.link) else {
            return;
        };
        let (session, node) = (link.session, link.node.clone());
        let request = Request::read(delivery.payload);
        if !delivery.settled {
            let state = match &request {
                Ok(_) => DeliveryState::Accepted,
                Err(error) => {
                    let error = AmqpError::new(condition::DECODE_ERROR, error_chain(error));
                    DeliveryState::rejected(error)
                }
            };
            let id = delivery.delivery_id;
            let disposition = Disposition::new(Role::Receiver, id, id, true, Some(state));
            self.tell(|engine| engine.disposition(session, &disposition));
        }
        self.renew_credit(delivery.link);
        let Ok(request) = request else { return };
        let response = match &node {
            Node::Cbs => self.on_cbs_request(&request),
            Node::Management(address) => self.on_management_request(address, &request),
        };
        self.respond(session, &node, &request, &response);
    }

    fn respond(&mut self, session: SessionId, node: &Node, request: &Request, response: &Response) {
        let Some(id) = self.response_link(session, node, request.reply_to.as_deref()) else {
            tracing::debug!(
                connection.id = self.id,
                "a request has no link for its answer"
            );
            return;
        };
        let payload = response.encode(node, request.message_id.clone());
        let credit = self.engine.credit(id);
        if let Some(Link::Responses(link)) = self.links.get_mut(&id) {
            let (count, bytes) = (link.waiting.len(), link.waiting_bytes);
            if (credit == 0 && count >= MAX_WAITING) || bytes >= MAX_WAITING_BYTES {
                let text = format!("{count} answers of {bytes} bytes wait to be taken");
                let error = AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, text);
                self.forget_link(id);
                self.tell(|engine| engine.detach(id, true, Some(error)));
                return;
            }
            link.waiting_bytes += payload.len();
            link.waiting.push_back(payload);
        }
        self.send_responses(id);
    }

    fn response_link(
        &self,
        session: SessionId,
        node: &Node,
        reply_to: Option<&str>,
    ) -> Option<LinkId> {
        let candidates = || {
            self.links.iter().filter_map(|(id, link)| match link {
                Link::Responses(link) if link.node == *node => Some((*id, link)),
                _ => None,
            })
        };
        let named = reply_to.and_then(|reply_to| {
            candidates().find(|(_, link)| {
                link.reply_to.as_deref() == Some(reply_to) || link.name == reply_to
            })
        });
        let beside = || candidates().find(|(_, link)| link.session == session);
        named.or_else(beside).map(|(id, _)| id)
    }

    /// Sends answers that waited for output to go. Says whether some still do.
    pub(super) fn send_held_up_responses(&mut self) -> bool {
        if !self.outbox.take_answers_wait() {
            return false;
        }
        let waiting = |(id, link): (&LinkId, &Link)| match link {
            Link::Responses(link) if !link.waiting.is_empty() => Some(*id),
            _ => None,
        };
        let ids: Vec<LinkId> = self.links.iter().filter_map(waiting).collect();
        for id in ids {
            self.send_responses(id);
        }
        self.outbox.answers_wait()
    }

    /// Sends the answers that wait, as far as there is credit and room in the output: a small
    /// request can have a large answer.
    pub(super) fn send_responses(&mut self, id: LinkId) {
        while self.engine.credit(id) > 0 {
            let Some(Link::Responses(link)) = self.links.get_mut(&id) else {
                return;
            };
            if self.engine.output().len() >= OUTPUT_HIGH {
                self.outbox.note_answers_wait(!link.waiting.is_empty());
                return;
            }
            let Some(payload) = link.waiting.pop_front() else {
                return;
            };
            link.waiting_bytes -= payload.len();
            link.last_tag = link.last_tag.wrapping_add(1);
            let tag = link.last_tag.to_be_bytes().into();
            let delivery = NewDelivery {
                tag,
                message_format: 0,
                settled: true,
            };
            self.tell(|engine| engine.send(id, delivery, &[&payload]));
        }
    }
}

impl Response {
    fn encode(&self, node: &Node, correlation_id: Option<MessageId>) -> Bytes {
        let [status, description, condition] = match node {
            Node::Cbs => ["status-code", "status-description", "error-condition"],
            Node::Management(_) => ["statusCode", "statusDescription", "errorCondition"],
        };
        let mut properties = Map::new();
        properties.insert(status, self.status);
        properties.insert(description, self.description.as_str());
        if let Some(symbol) = &self.condition {
            properties.insert(condition, symbol.clone());
        }
        let message = Message {
            properties: Some(Properties {
                correlation_id,
                ..Properties::default()
            }),
            application_properties: Some(properties),
            body: Body::Value(self.body.clone()),
            ..Message::default()
        };
        let mut out = BytesMut::new();
        message.encode(&mut out);
        out.freeze()
    }
}
