//! The messages of one invocation as pieces of work, each with its identity and its decoded body.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use nightshift_bindings::invocation::TriggerMessage;
use nightshift_job::{BatchFunction, BodyHash, Item, JobKey, Refusal};
use nightshift_postgres::dead_letter::DeadLetter;
use nightshift_postgres::inbox::{Claim, RETENTION_DAYS, is_within_retention};

/// One message of a batch.
#[derive(Debug)]
pub(crate) struct Member<I> {
    pub(crate) message: TriggerMessage,
    pub(crate) claim: Claim,
    pub(crate) content: Content<I>,
}

/// What is in a message.
#[derive(Debug)]
pub(crate) enum Content<I> {
    /// A payload to run.
    Runnable(Item<I>),
    /// Something that can never run.
    Dead(Refusal),
    /// A message that is older than the inbox remembers, or from the future: it can be neither run
    /// nor claimed.
    OutOfRetention(Refusal),
}

/// Reads `messages` for the function `F`. Of several copies of one message only the first remains;
/// a message that has another one's id but a body of its own stays, as dead.
pub(crate) fn read_members<F: BatchFunction>(
    messages: Vec<TriggerMessage>,
    now: DateTime<Utc>,
) -> Vec<Member<F::Input>> {
    let mut seen: HashMap<JobKey, BodyHash> = HashMap::with_capacity(messages.len());
    let mut members = Vec::with_capacity(messages.len());
    for message in messages {
        let body_hash = BodyHash::of(&message.body);
        let key = key_of(F::NAME, &message);
        let claim = Claim {
            key,
            body_hash,
            enqueued: message.enqueued_time,
        };
        match seen.insert(key, body_hash) {
            None => {
                let content = read_content::<F>(&message, key, now);
                members.push(Member {
                    message,
                    claim,
                    content,
                });
            }
            Some(first) => {
                // Whoever comes third is compared with the first, not with the second.
                seen.insert(key, first);
                let reused = key.reused_with(body_hash);
                if first != body_hash && seen.insert(reused, body_hash).is_none() {
                    let claim = Claim {
                        key: reused,
                        ..claim
                    };
                    members.push(Member {
                        message,
                        claim,
                        content: Content::Dead(id_reused()),
                    });
                }
            }
        }
    }
    members
}

fn key_of(function: &str, message: &TriggerMessage) -> JobKey {
    match &message.message_id {
        Some(id) => JobKey::of_message_id(function, id),
        None => JobKey::of_position(function, message.sequence_number, message.enqueued_time),
    }
}

fn read_content<F: BatchFunction>(
    message: &TriggerMessage,
    key: JobKey,
    now: DateTime<Utc>,
) -> Content<F::Input> {
    if !is_within_retention(message.enqueued_time, now) {
        let description = format!(
            "the message was enqueued at {}, which is not within the {RETENTION_DAYS} days before {} for which it is known what is done; look whether its effect happened before sending it again",
            message.enqueued_time, now
        );
        return Content::OutOfRetention(Refusal {
            reason: "out-of-retention",
            description,
        });
    }
    match nightshift_contract::decode::<F::Input>(&message.body, F::POLICY.max_body_bytes) {
        Ok(input) => Content::Runnable(Item {
            input,
            key,
            enqueued: message.enqueued_time,
        }),
        Err(error) => Content::Dead(Refusal {
            reason: error.reason(),
            description: error.to_string(),
        }),
    }
}

/// Why a message dies that carries the id of another one.
pub(crate) fn id_reused() -> Refusal {
    Refusal {
        reason: "id-reused",
        description: "another message with the same id but a different body was processed before; give each message an id of its own".to_owned(),
    }
}

impl<I> Member<I> {
    /// The dead letter of this message under `key`, for `refusal`.
    pub(crate) fn letter<'a>(
        &'a self,
        function: &'a str,
        key: JobKey,
        refusal: &'a Refusal,
    ) -> DeadLetter<'a> {
        let message = &self.message;
        DeadLetter {
            key,
            function,
            refusal,
            message_id: message.message_id.as_deref(),
            session_id: message.session_id.as_deref(),
            sequence_number: message.sequence_number,
            delivery_count: message.delivery_count,
            enqueued: message.enqueued_time,
            properties: serde_json::Value::Object(message.application_properties.clone())
                .to_string(),
            body: &message.body,
            body_hash: self.claim.body_hash,
        }
    }
}
