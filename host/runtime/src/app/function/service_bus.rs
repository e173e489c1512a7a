//! Functions that Service Bus messages trigger.

use nightshift_bindings::function_json::{Cardinality, DataType, EntityPath, ServiceBusTrigger};
use nightshift_bindings::problem::ConfigProblem;
use nightshift_bindings::substitution::resolve_names;
use nightshift_bus::SubQueue;

use super::{Context, ServiceBusOutputs};
use crate::app::connection::{self, Connection};

/// How the dead-letter queue of a queue is named in `queueName`.
const DEAD_LETTER_SUFFIX: &str = "/$DeadLetterQueue";

/// A function with a `serviceBusTrigger`.
#[derive(Debug, Clone)]
pub(crate) struct ServiceBusFunction {
    /// The folder's name.
    pub(crate) name: String,
    /// The trigger binding's name.
    pub(crate) binding: String,
    pub(crate) connection: Connection,
    pub(crate) queue: String,
    pub(crate) sub_queue: Option<SubQueue>,
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
    let queue = match &trigger.entity {
        EntityPath::Queue(queue) => resolve_names(queue, |name| lookup.value(name))
            .map_err(|error| problems.push(file.trigger_problem("queueName", error.to_string()))),
        // Refused before by name.
        EntityPath::Subscription { .. } => Err(()),
    };
    let connection = connection::resolve(&trigger.connection, lookup)
        .map_err(|error| problems.push(file.trigger_problem("connection", error)));
    let (Ok(queue), Ok(connection)) = (queue, connection) else {
        return Err(problems);
    };
    let (queue, sub_queue) = split_sub_queue(&queue);
    Ok(ServiceBusFunction {
        name: context.name.to_owned(),
        binding: trigger.name.clone(),
        connection,
        queue: queue.to_owned(),
        sub_queue,
        cardinality: trigger.cardinality,
        data_type: trigger.data_type,
        auto_complete: trigger
            .auto_complete
            .unwrap_or(context.host_json.service_bus.auto_complete_messages),
        outputs: context.outputs,
    })
}

fn split_sub_queue(queue: &str) -> (&str, Option<SubQueue>) {
    let split = queue.len().saturating_sub(DEAD_LETTER_SUFFIX.len());
    match (queue.get(..split), queue.get(split..)) {
        (Some(name), Some(suffix)) if suffix.eq_ignore_ascii_case(DEAD_LETTER_SUFFIX) => {
            (name, Some(SubQueue::DeadLetter))
        }
        _ => (queue, None),
    }
}
