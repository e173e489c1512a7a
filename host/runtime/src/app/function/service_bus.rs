//! Functions that Service Bus messages trigger.

use nightshift_bindings::function_json::{
    Cardinality, DataType, EntityPath, FunctionJson, ServiceBusTrigger,
};
use nightshift_bindings::problem::ConfigProblem;
use nightshift_bindings::substitution::resolve_names;
use nightshift_bus::SubQueue;

use super::{Context, ServiceBusOutputs};
use nightshift_connection::Connection;
use nightshift_settings::Lookup;

/// How a dead-letter queue is named behind its queue or subscription.
const DEAD_LETTER_SUFFIX: &str = "/$DeadLetterQueue";

/// A function with a `serviceBusTrigger`.
#[derive(Debug, Clone)]
pub(crate) struct ServiceBusFunction {
    /// The folder's name.
    pub(crate) name: String,
    /// The trigger binding's name.
    pub(crate) binding: String,
    pub(crate) connection: Connection,
    /// The queue, or the subscription as `topic/Subscriptions/name`.
    pub(crate) entity: String,
    pub(crate) sub_queue: Option<SubQueue>,
    /// Whether the messages belong to sessions.
    pub(crate) has_sessions: bool,
    pub(crate) cardinality: Cardinality,
    pub(crate) data_type: DataType,
    /// Whether the messages of a successful invocation are completed.
    pub(crate) auto_complete: bool,
    pub(crate) outputs: ServiceBusOutputs,
}

/// Replaces the names in a trigger by what the settings say.
pub(super) fn resolve(
    context: Context<'_>,
    trigger: &ServiceBusTrigger,
) -> Result<ServiceBusFunction, Vec<ConfigProblem>> {
    let Context { file, lookup, .. } = context;
    let mut problems = Vec::new();
    let entity = resolve_entity(file, trigger, lookup, &mut problems);
    let connection = Connection::resolve(&trigger.connection, lookup)
        .map_err(|error| problems.push(file.trigger_problem("connection", error)));
    let (Some((entity, sub_queue)), Ok(connection)) = (entity, connection) else {
        return Err(problems);
    };
    Ok(ServiceBusFunction {
        name: context.name.to_owned(),
        binding: trigger.name.clone(),
        connection,
        entity,
        sub_queue,
        has_sessions: trigger.is_sessions_enabled,
        cardinality: trigger.cardinality,
        data_type: trigger.data_type,
        auto_complete: trigger
            .auto_complete
            .unwrap_or(context.host_json.service_bus.auto_complete_messages),
        outputs: context.outputs,
    })
}

/// Where to receive from; `None` when a problem was written down.
fn resolve_entity(
    file: &FunctionJson,
    trigger: &ServiceBusTrigger,
    lookup: &Lookup,
    problems: &mut Vec<ConfigProblem>,
) -> Option<(String, Option<SubQueue>)> {
    let mut named = |key: &str, text: &str| {
        let resolved = resolve_names(text, |name| lookup.value(name));
        resolved
            .map_err(|error| problems.push(file.trigger_problem(key, error.to_string())))
            .ok()
    };
    let entity = match &trigger.entity {
        EntityPath::Queue(queue) => named("queueName", queue)?,
        EntityPath::Subscription {
            topic,
            subscription,
        } => {
            let topic = named("topicName", topic);
            let subscription = named("subscriptionName", subscription);
            format!("{}/Subscriptions/{}", topic?, subscription?)
        }
    };
    let (entity, sub_queue) = split_sub_queue(&entity);
    if trigger.is_sessions_enabled && sub_queue.is_some() {
        let what = "a dead-letter queue has no sessions, even that of a queue with sessions";
        problems.push(file.trigger_problem("isSessionsEnabled", what));
        return None;
    }
    Some((entity.to_owned(), sub_queue))
}

fn split_sub_queue(entity: &str) -> (&str, Option<SubQueue>) {
    let split = entity.len().saturating_sub(DEAD_LETTER_SUFFIX.len());
    match (entity.get(..split), entity.get(split..)) {
        (Some(name), Some(suffix)) if suffix.eq_ignore_ascii_case(DEAD_LETTER_SUFFIX) => {
            (name, Some(SubQueue::DeadLetter))
        }
        _ => (entity, None),
    }
}
