//! The messages of one invocation as pieces of work, each with its identity and its decoded body.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use chrono::{DateTime, Utc};
use nightshift_bindings::invocation::TriggerMessage;
use nightshift_contract::Payload;
use nightshift_job::{BodyHash, Item, JobKey, Policy, Refusal};
use nightshift_postgres::dead_letter::DeadLetter;
use nightshift_postgres::inbox::{Claim, RETENTION_DAYS, is_within_retention};

use nightshift_telemetry::trace::{self, CONTEXT_PROPERTIES, TRACE};
use serde_json::Value;
use tracing::field::Empty;

use crate::copy::{self, CopyOf, own_properties};
use crate::runner::Definition;
use crate::span::MessageSpan;
use crate::work::Origin;

/// From which delivery on a message is a suspect: those before may have ended with somebody else's
/// fault, or that of its company.
const SUSPECT_DELIVERIES: u32 = 3;

/// One message of a batch.
#[derive(Debug)]
pub(crate) struct Member<I> {
    pub(crate) message: TriggerMessage,
    /// Whose copy it is; `None` for an original.
    pub(crate) copy: Option<CopyOf>,
    /// Of the original.
    pub(crate) claim: Claim,
    /// Set if the original is older than the inbox remembers, or from the future: it cannot be
    /// claimed.
    pub(crate) forgotten: Option<Refusal>,
    /// A copy whose body is with the message that waits, which does not any more.
    pub(crate) is_left_over: bool,
    pub(crate) content: Content<I>,
    /// What its trace shows of this invocation.
    pub(crate) span: MessageSpan,
    /// Its slot of the function's rate limit: one for all that this invocation tries with it.
    pub(crate) slot: OnceLock<DateTime<Utc>>,
}

/// What is in a message.
#[derive(Debug)]
pub(crate) enum Content<I> {
    /// A payload to run.
    Runnable(Item<I>),
    /// Something that can never run.
    Dead(Refusal),
}

/// Reads `messages` for a function, whose call the host has told by the trace context `within`. Of several copies of one message only the first remains;
/// a message that has another one's id but a body of its own stays, as dead.
pub(crate) fn read_members<I: Payload>(
    function: &Definition,
    messages: Vec<TriggerMessage>,
    within: Option<&str>,
    now: DateTime<Utc>,
) -> Vec<Member<I>> {
    let mut seen: HashMap<JobKey, BodyHash> = HashMap::with_capacity(messages.len());
    let mut copies = HashSet::new();
    let mut members = Vec::with_capacity(messages.len());
    for message in messages {
        let body_hash = BodyHash::of(&message.body);
        if let Some(copy) = CopyOf::read(&message) {
            if copies.insert((copy.key, copy.r#gen)) {
                let claim = Claim {
                    key: copy.key,
                    body_hash,
                    enqueued: copy.enqueued,
                };
                let tries = u32::try_from(copy.attempt).unwrap_or(0);
                let span = span_of(function, &message, claim.key, tries, within);
                let content = read_content(&function.policy, &message, claim, tries, &span);
                members.push(Member {
                    is_left_over: copy::stored(&message).is_some() && message.body.is_empty(),
                    message,
                    copy: Some(copy),
                    claim,
                    forgotten: forgotten(claim.enqueued, now),
                    content,
                    span,
                    slot: OnceLock::new(),
                });
            }
            continue;
        }
        let key = key_of(function.name, &message);
        let claim = Claim {
            key,
            body_hash,
            enqueued: message.enqueued_time,
        };
        match seen.insert(key, body_hash) {
            None => {
                let span = span_of(function, &message, key, 0, within);
                let content = if copy::is_copys_id(&message) {
                    Content::Dead(copy::broken())
                } else {
                    read_content(&function.policy, &message, claim, 0, &span)
                };
                members.push(Member {
                    is_left_over: false,
                    message,
                    copy: None,
                    claim,
                    forgotten: forgotten(claim.enqueued, now),
                    content,
                    span,
                    slot: OnceLock::new(),
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
                        span: span_of(function, &message, reused, 0, within),
                        is_left_over: false,
                        message,
                        copy: None,
                        claim,
                        forgotten: forgotten(claim.enqueued, now),
                        content: Content::Dead(id_reused()),
                        slot: OnceLock::new(),
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

/// The context that the producer of `message` has sent along.
fn producer(message: &TriggerMessage) -> Option<&str> {
    let property = |name| message.application_properties.get(name);
    CONTEXT_PROPERTIES.into_iter().find_map(property)?.as_str()
}

/// What a trace shows of `message`: a child of the host's call `within` if that was for it alone, or else of
/// its producer's span, to which it links in any case.
fn span_of(
    function: &Definition,
    message: &TriggerMessage,
    key: JobKey,
    failures: u32,
    within: Option<&str>,
) -> MessageSpan {
    let span = tracing::info_span!(
        target: TRACE,
        "function.run",
        otel.kind = "consumer",
        function.name = function.name,
        trigger.kind = "queue",
        job.id = %key,
        job.attempt = failures.saturating_add(1),
        messaging.destination.name = function.queue,
        messaging.sequence_number = message.sequence_number,
        outcome = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    );
    if span.is_disabled() {
        return MessageSpan::new(span);
    }
    let producer = producer(message);
    if let Some(parent) = within.or(producer) {
        trace::follow(&span, parent);
    }
    if let Some(producer) = producer {
        trace::link(&span, producer);
    }
    MessageSpan::new(span)
}

fn read_content<I: Payload>(
    policy: &Policy,
    message: &TriggerMessage,
    claim: Claim,
    failures: u32,
    span: &MessageSpan,
) -> Content<I> {
    let property = |name| message.application_properties.get(name);
    let context = trace::context_of(span.get());
    match nightshift_contract::decode::<I>(&message.body, policy.max_body_bytes) {
        Ok(input) => Content::Runnable(Item {
            input,
            key: claim.key,
            enqueued: claim.enqueued,
            attempt: failures.saturating_add(1),
            failed_children: property(copy::FAILED_CHILDREN)
                .and_then(Value::as_u64)
                .and_then(|count| u32::try_from(count).ok())
                .unwrap_or(0),
            traceparent: context.or_else(|| producer(message).map(str::to_owned)),
        }),
        Err(error) => Content::Dead(Refusal {
            reason: error.reason(),
            description: error.to_string(),
        }),
    }
}

/// Why a message dies whose original is older than what the inbox knows; `None` for others.
fn forgotten(enqueued: DateTime<Utc>, now: DateTime<Utc>) -> Option<Refusal> {
    if is_within_retention(enqueued, now) {
        return None;
    }
    let description = format!(
        "the message was enqueued at {enqueued}, which is not within the {RETENTION_DAYS} days before {now} for which it is known what is done; look whether its effect happened before sending it again"
    );
    Some(Refusal {
        reason: "out-of-retention",
        description,
    })
}

/// Why a message dies that carries the id of another one.
pub(crate) fn id_reused() -> Refusal {
    Refusal {
        reason: "id-reused",
        description: "another message with the same id but a different body was processed before; give each message an id of its own".to_owned(),
    }
}

impl<I> Member<I> {
    /// The number of the copy; 0 for an original.
    pub(crate) fn r#gen(&self) -> i32 {
        self.copy.map_or(0, |copy| copy.r#gen)
    }

    /// Whether it was delivered so often without an outcome that it may be what ends its processes.
    pub(crate) fn is_suspect(&self) -> bool {
        self.message.delivery_count >= SUSPECT_DELIVERIES
    }

    /// The dead letter of this message under `key`, for `refusal`.
    pub(crate) fn letter<'a>(
        &'a self,
        function: &'a Definition,
        key: JobKey,
        origin: &'a Origin,
        refusal: &'a Refusal,
    ) -> DeadLetter<'a> {
        let message = &self.message;
        let mut properties = own_properties(message);
        // Its end is counted now, and not again should it be redriven.
        properties.remove(copy::PARENT);
        DeadLetter {
            key,
            function: function.name,
            queue: &function.queue,
            refusal,
            message_id: origin.message_id.as_deref(),
            session_id: message.session_id.as_deref(),
            sequence_number: origin.sequence_number,
            delivery_count: message.delivery_count,
            enqueued: self.claim.enqueued,
            properties: Value::Object(properties).to_string(),
            body: &message.body,
            body_hash: self.claim.body_hash,
            attempt: origin.attempt,
            r#gen: self.r#gen(),
            // Whose copy was broken waits on by itself.
            holds_session: function.holds_sessions() && refusal.reason != copy::BROKEN,
            call: None,
        }
    }
}
