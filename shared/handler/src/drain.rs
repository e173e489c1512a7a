//! Takes back what the broker has given up.
//!
//! A message that was delivered too often goes to its queue's dead-letter queue, where nobody looks.
//! From there it comes to the same end as all others: what is done already is only removed, and the
//! rest waits for another try or becomes a dead letter, with what the broker said about it.

use std::sync::Arc;
use std::time::Duration;

use nightshift_bindings::invocation::TriggerMessage;
use nightshift_bus::{BusError, ReceivedMessage, ReceiverOptions, SubQueue};
use nightshift_connection::into_trigger_message;
use nightshift_job::Disposition;
use nightshift_postgres::BACKGROUND;
use nightshift_telemetry::causes;
use nightshift_telemetry::metrics::TAKEN_BACK;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::copy::is_copys_id;
use crate::fate::Failure;
use crate::registry::Registry;

/// How long after its start a process looks for the first time, and how often it does from then on.
const FIRST: Duration = Duration::from_secs(15);
const PERIOD: Duration = Duration::from_mins(1);

/// How many messages are taken at a time, and how long the first of them is waited for.
const AT_A_TIME: usize = 50;
const MAX_WAIT: Duration = Duration::from_millis(500);

/// What is said of a database that is out of reach without saying so.
const NO_ANSWER: &str = "it gives no answer";

/// What the service says of messages that were delivered too often, and of those that nobody wanted
/// in time.
const DELIVERED_TOO_OFTEN: &str = "MaxDeliveryCountExceeded";
const EXPIRED: &str = "TTLExpiredException";

/// The properties in which the service says why.
const REASON: &str = "DeadLetterReason";
const DESCRIPTION: &str = "DeadLetterErrorDescription";

/// A message that the broker has given up, and what that means for it.
#[derive(Debug)]
pub(crate) struct GivenUp {
    pub(crate) message: TriggerMessage,
    pub(crate) failure: Failure,
}

impl GivenUp {
    fn new(received: &mut ReceivedMessage) -> Self {
        let reason = received.dead_letter_reason().unwrap_or("no reason");
        let description = received.dead_letter_error_description();
        let said = description.unwrap_or("no description");
        let error = format!(
            "the broker has given the message up after {} deliveries: {reason}: {said}",
            received.delivery_count
        );
        let disposition = match reason {
            DELIVERED_TOO_OFTEN => Disposition::Retry,
            EXPIRED => Disposition::DeadLetter("expired"),
            _ => Disposition::DeadLetter("given-up-by-broker"),
        };
        let mut message = into_trigger_message(received);
        message.application_properties.remove(REASON);
        message.application_properties.remove(DESCRIPTION);
        let failure = Failure {
            disposition,
            ..Failure::passing(error)
        };
        Self { message, failure }
    }

    fn is_copy(&self) -> bool {
        is_copys_id(&self.message)
    }

    /// Whether it was delivered too often, and not given up unseen.
    fn was_delivered(&self) -> bool {
        self.failure.disposition == Disposition::Retry
    }
}

/// Why a dead-letter queue could not be emptied.
#[derive(Debug, thiserror::Error)]
enum DrainFailed {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("the database cannot be used: {0}")]
    Database(String),
}

/// Empties the dead-letter queues of all functions, again and again until `stop`.
pub(crate) async fn drain_until(registry: Arc<Registry>, stop: CancellationToken) {
    let mut pause = FIRST;
    let mut was_well = true;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(pause) => {}
        }
        pause = PERIOD;
        let mut problem = None;
        for queue in registry.queues() {
            let drained = tokio::select! {
                drained = drain(&registry, queue) => drained,
                // What is under way is locked, and comes again.
                () = stop.cancelled() => return,
            };
            match drained {
                Ok(0) => {}
                Ok(count) => {
                    TAKEN_BACK.add(&[queue], count);
                    tracing::warn!(
                        queue.name = queue,
                        queue.taken_back = count,
                        "the broker had given messages up"
                    );
                }
                Err(error) => problem = Some((queue, error)),
            }
        }
        if let Some((queue, error)) = &problem
            && was_well
        {
            // Once for each outage.
            tracing::warn!(
                queue.name = queue,
                error = causes(error),
                "a dead-letter queue cannot be emptied; trying on"
            );
        }
        was_well = problem.is_none();
    }
}

/// Empties one dead-letter queue, and returns how many messages were there.
async fn drain(registry: &Registry, queue: &str) -> Result<usize, DrainFailed> {
    let Some(client) = registry.outbox().client().await? else {
        return Ok(0);
    };
    let options = ReceiverOptions {
        sub_queue: Some(SubQueue::DeadLetter),
        ..ReceiverOptions::default()
    };
    let receiver = client.create_receiver(queue, options).await?;
    let mut count = 0;
    loop {
        let mut messages = receiver.receive_messages(AT_A_TIME, MAX_WAIT).await?;
        if messages.is_empty() {
            receiver.close().await;
            return Ok(count);
        }
        for message in &mut messages {
            let given_up = GivenUp::new(message);
            // The message itself waits, and gets another copy in time.
            let is_spent_alarm = given_up.is_copy() && !given_up.was_delivered();
            if !is_spent_alarm {
                timeout(BACKGROUND, registry.take_back(queue, given_up))
                    .await
                    .unwrap_or_else(|_elapsed| Err(NO_ANSWER.to_owned()))
                    .map_err(DrainFailed::Database)?;
            }
            receiver.complete_message(message).await?;
            count += 1;
        }
    }
}
