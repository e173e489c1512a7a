//! The bindings `serviceBusTrigger` and `serviceBus`.

use super::{DataType, Trace};

/// The connection setting of a Service Bus binding that names none.
pub const DEFAULT_CONNECTION: &str = "AzureWebJobsServiceBus";

/// How many messages one invocation carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cardinality {
    /// Exactly one.
    #[default]
    One,
    /// What is waiting, up to `maxMessageBatchSize`.
    Many,
}

/// Where a Service Bus trigger receives from. `%NAME%` is not resolved yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntityPath {
    /// A queue, or its dead-letter queue (`orders/$DeadLetterQueue`).
    Queue(String),
    /// A topic's subscription.
    Subscription {
        /// The topic.
        topic: String,
        /// The subscription.
        subscription: String,
    },
}

/// A `serviceBusTrigger`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceBusTrigger {
    /// The binding's name, under which the body travels in `Data`.
    pub name: String,
    /// Where to receive from.
    pub entity: EntityPath,
    /// The name of the connection setting.
    pub connection: String,
    /// One message per invocation, or many.
    pub cardinality: Cardinality,
    /// The form of the body.
    pub data_type: DataType,
    /// Whether the entity has sessions.
    pub is_sessions_enabled: bool,
    /// Overrides `autoCompleteMessages` of `host.json`.
    pub auto_complete: Option<bool>,
}

/// A `serviceBus` output: messages to send.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceBusOutput {
    /// The binding's name, under which the messages travel in `Outputs`; `$return` for
    /// `ReturnValue`.
    pub name: String,
    /// The member that names the entity: `queueName` or `topicName`.
    pub entity_key: &'static str,
    /// The queue or topic to send to. `%NAME%` is not resolved yet.
    pub entity: String,
    /// The name of the connection setting.
    pub connection: String,
    /// Whether the real host would leave a text alone that happens to be base64
    /// ([`DataType::Binary`]).
    pub data_type: DataType,
}

/// `None` without an entity to send to.
pub(super) fn read_output(trace: &mut Trace<'_, '_>, name: String) -> Option<ServiceBusOutput> {
    trace.require_direction("out");
    let named = |trace: &mut Trace<'_, '_>, key: &'static str| {
        let name = trace.text(key).filter(|name| !name.trim().is_empty());
        name.map(|name| (key, name))
    };
    let entity = match (named(trace, "queueName"), named(trace, "topicName")) {
        (Some(entity), None) | (None, Some(entity)) => Some(entity),
        _ => {
            let what = "expected either queueName or topicName";
            trace.reader.problem(trace.path, what);
            None
        }
    };
    let (connection, data_type) = (read_connection(trace), trace.data_type());
    let (entity_key, entity) = entity?;
    Some(ServiceBusOutput {
        name,
        entity_key,
        entity,
        connection,
        data_type,
    })
}

fn read_connection(trace: &mut Trace<'_, '_>) -> String {
    let name = trace.text("connection");
    let name = name.filter(|name| !name.trim().is_empty());
    name.unwrap_or_else(|| DEFAULT_CONNECTION.to_owned())
}

/// `None` without an entity to receive from.
pub(super) fn read(trace: &mut Trace<'_, '_>, name: String) -> Option<ServiceBusTrigger> {
    let entity = read_entity(trace);
    let cardinalities = [("one", Cardinality::One), ("many", Cardinality::Many)];
    let mut maybe = |key: &str| {
        let path = trace.at(key);
        trace.reader.maybe_boolean(&path)
    };
    let auto_complete = maybe("autoCompleteMessages").or(maybe("autoComplete"));
    Some(ServiceBusTrigger {
        name,
        connection: read_connection(trace),
        cardinality: trace
            .choice("cardinality", &cardinalities)
            .unwrap_or_default(),
        data_type: trace.data_type(),
        is_sessions_enabled: trace.boolean("isSessionsEnabled", false),
        auto_complete,
        entity: entity?,
    })
}

fn read_entity(trace: &mut Trace<'_, '_>) -> Option<EntityPath> {
    let queue = trace.text("queueName");
    let topic = trace.text("topicName");
    let subscription = trace.text("subscriptionName");
    match (queue, topic, subscription) {
        (Some(queue), None, None) if !queue.trim().is_empty() => Some(EntityPath::Queue(queue)),
        (None, Some(topic), Some(subscription)) => Some(EntityPath::Subscription {
            topic,
            subscription,
        }),
        _ => {
            trace.reader.problem(
                trace.path,
                "expected either queueName, or topicName and subscriptionName",
            );
            None
        }
    }
}
