//! Where the messages go that a function's outputs hold.

use std::sync::Arc;

use nightshift_bindings::function_json::{DataType, FunctionJson};
use nightshift_bindings::problem::ConfigProblem;
use nightshift_bindings::substitution::resolve_names;

use nightshift_connection::Connection;
use nightshift_settings::Lookup;

/// A `serviceBus` output.
#[derive(Debug, Clone)]
pub(crate) struct ServiceBusOutput {
    /// The binding's name.
    pub(crate) name: String,
    pub(crate) connection: Connection,
    /// The queue or topic.
    pub(crate) entity: String,
    pub(crate) data_type: DataType,
}

/// All of a function's `serviceBus` outputs, in the order of its file.
pub(crate) type ServiceBusOutputs = Arc<[ServiceBusOutput]>;

/// Replaces the names in the outputs by what the settings say.
pub(super) fn resolve(
    file: &FunctionJson,
    lookup: &Lookup,
) -> Result<ServiceBusOutputs, Vec<ConfigProblem>> {
    let mut problems = Vec::new();
    let mut outputs = Vec::new();
    for (index, output) in file.service_bus_outputs() {
        let mut problem = |key: &str, what: String| {
            problems.push(file.binding_problem(index, key, what));
        };
        let entity = resolve_names(&output.entity, |name| lookup.value(name))
            .map_err(|error| problem(output.entity_key, error.to_string()));
        let connection = Connection::resolve(&output.connection, lookup)
            .map_err(|error| problem("connection", error));
        if let (Ok(entity), Ok(connection)) = (entity, connection) {
            outputs.push(ServiceBusOutput {
                name: output.name.clone(),
                connection,
                entity,
                data_type: output.data_type,
            });
        }
    }
    if problems.is_empty() {
        Ok(outputs.into())
    } else {
        Err(problems)
    }
}
