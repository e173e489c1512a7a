//! An invocation that nobody's message has triggered: the admin page's.

use std::sync::Arc;

use bytes::Bytes;
use nightshift_bindings::invocation::TriggerMessage;
use serde_json::Map;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::invocation::Invocation;
use crate::app::{Mode, ServiceBusFunction};
use crate::call::Caller;
use crate::stats::Counters;

/// A function that is to be run once.
#[derive(Debug)]
pub(crate) struct ByHand {
    caller: Caller,
    function: ServiceBusFunction,
    counters: Arc<Counters>,
}

impl ByHand {
    pub(crate) fn new(
        caller: Caller,
        function: ServiceBusFunction,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            caller,
            function,
            counters,
        }
    }

    /// Runs the function with a message that has the body `input` and hardly anything else. Whether
    /// it fails is in the log. In the default mode it has an id, so that two runs in one second are not
    /// taken for one message.
    pub(crate) async fn run(self, input: String, cancel: CancellationToken) {
        let has_id = self.caller.config.settings.mode == Mode::Default;
        let message = TriggerMessage {
            body: Bytes::from(input),
            message_id: has_id.then(|| format!("by-hand-{}", Uuid::new_v4())),
            sequence_number: 0,
            delivery_count: 1,
            lock_token: None,
            enqueued_time: self.caller.config.clock.now(),
            expires_at: None,
            session_id: None,
            correlation_id: None,
            content_type: None,
            subject: None,
            to: None,
            reply_to: None,
            reply_to_session_id: None,
            partition_key: None,
            dead_letter_source: None,
            application_properties: Map::new(),
        };
        let messages = [message];
        let invocation = Invocation::new(
            &self.caller,
            &self.function,
            &self.counters,
            &messages,
            None,
        );
        // Told by the invocation itself.
        let _ = invocation.run(&cancel).await;
    }
}
