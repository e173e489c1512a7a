//! Trace contexts of messages.

use nightshift_telemetry::trace::CONTEXT_PROPERTIES;
use serde_json::{Map, Value};

/// The id of the trace in the application properties `properties`, JSON text.
pub(crate) fn trace_id(properties: &str) -> Option<String> {
    let properties: Map<String, Value> = serde_json::from_str(properties).ok()?;
    let context = CONTEXT_PROPERTIES
        .iter()
        .find_map(|name| properties.get(*name)?.as_str())?;
    let id = context.split('-').nth(1)?;
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_the_second_part_of_the_context() {
        let context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let properties = format!("{{\"Diagnostic-Id\": {context:?}}}");
        assert_eq!(
            trace_id(&properties).unwrap(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        for none in [
            "{}",
            "[]",
            "{\"traceparent\": 1}",
            "{\"traceparent\": \"00-x-y-01\"}",
        ] {
            assert_eq!(trace_id(none), None, "{none}");
        }
    }
}
