//! What a trace shows of the broker: how long a message has waited in its queue.

use bytes::Bytes;
use chrono::DateTime;
use nightshift_amqp::message::RawMessage;
use nightshift_telemetry::trace::{Attribute, CONTEXT_PROPERTIES, Kind, Past, is_on};

use crate::queue::Delivery;

/// Tells the trace of `delivery`, which has just been handed out of `queue`, how long it has waited there.
pub(super) fn record_wait(delivery: &Delivery, queue: &str) {
    if !is_on() {
        return;
    }
    let Some(began) = DateTime::from_timestamp_millis(delivery.enqueued_at_ms) else {
        return;
    };
    let bare = Bytes::copy_from_slice(delivery.content.bare());
    let properties = RawMessage::split(bare).and_then(|raw| raw.application_properties());
    let Ok(Some(properties)) = properties else {
        return;
    };
    let context = |name| properties.get(name)?.as_str();
    let Some(parent) = CONTEXT_PROPERTIES.into_iter().find_map(context) else {
        return;
    };
    let sequence = i64::try_from(delivery.sequence).unwrap_or(i64::MAX);
    Past {
        name: "queue.wait",
        kind: Kind::Internal,
        parent,
        began,
        attributes: vec![
            Attribute::new("messaging.destination.name", queue.to_owned()),
            Attribute::new(
                "messaging.delivery_count",
                i64::from(delivery.delivery_count),
            ),
            Attribute::new("messaging.sequence_number", sequence),
        ],
        error: None,
    }
    .record();
}
