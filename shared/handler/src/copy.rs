//! Copies: what wakes a message that waits.
//!
//! A copy has the original's body and properties, and four more that say whose copy it is. Its id is
//! made of the key and its number, so that a broker with duplicate detection takes each once. One that
//! does not come is sent again with the same number: whichever comes first runs.

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use nightshift_bindings::invocation::TriggerMessage;
use nightshift_job::{JobKey, Refusal};
use nightshift_postgres::fan_out::Finished;
use nightshift_postgres::open_message::ToWake;
use nightshift_postgres::outbox::Promised;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// The key of the message that it is a copy of, 32 hexadecimal digits.
const ORIGIN: &str = "ns-origin";
/// The number of the copy, from 1.
const GEN: &str = "ns-gen";
/// How many tries have failed.
const ATTEMPT: &str = "ns-attempt";
/// When the broker accepted the original, RFC 3339.
const ENQUEUED: &str = "ns-enqueued";

/// That the body is not here but in the database, because with the other properties it would not fit;
/// says in place of [`ATTEMPT`] how many tries have failed. A release that knows nothing of this takes
/// the copy for broken and leaves the message to wait.
const STORED: &str = "ns-stored";

/// The fan-out that a message is a child in.
pub(crate) const PARENT: &str = "ns-parent";

/// How many children of the fan-out are dead whose finish message this is.
pub(crate) const FAILED_CHILDREN: &str = "ns-failed-children";

/// The tick that a message carries on which is not the first of it.
pub(crate) const TICK: &str = "ns-tick";

/// The names that a copy adds.
const ADDED: [&str; 5] = [ORIGIN, GEN, ATTEMPT, ENQUEUED, STORED];

/// The longest body that a copy carries, in bytes: three quarters of a message of the Standard tier.
const MAX_CARRIED_BYTES: usize = 192 * 1024;

/// What the id of every copy begins with.
const ID_PREFIX: &str = "ns:";

/// Whether `message` has the id of a copy.
pub(crate) fn is_copys_id(message: &TriggerMessage) -> bool {
    let id = message.message_id.as_deref();
    id.is_some_and(|id| id.starts_with(ID_PREFIX))
}

/// The reason of such a dead letter.
pub(crate) const BROKEN: &str = "broken-copy";

/// Why a message dies that has the id of a copy and does not say whose: to run it could double an
/// effect, and what waits for it is rescued.
pub(crate) fn broken() -> Refusal {
    let description = format!(
        "its id begins with {ID_PREFIX:?}, which is for copies of messages that wait, but its properties {ORIGIN}, {GEN}, {ATTEMPT} and {ENQUEUED} do not say of which; the message itself waits on and is sent again"
    );
    Refusal {
        reason: BROKEN,
        description,
    }
}

/// Whose copy a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CopyOf {
    pub(crate) key: JobKey,
    pub(crate) r#gen: i32,
    /// How many tries had failed when it was sent.
    pub(crate) attempt: i32,
    /// When the broker accepted the original.
    pub(crate) enqueued: DateTime<Utc>,
}

impl CopyOf {
    /// What `message` says that it is a copy of; `None` if it does not say all of it.
    pub(crate) fn read(message: &TriggerMessage) -> Option<Self> {
        let property = |name| message.application_properties.get(name);
        let number = |name| {
            let value = property(name)?;
            // A tool that sends a message again may make a text of a number.
            let number = value.as_i64().or_else(|| value.as_str()?.parse().ok())?;
            i32::try_from(number).ok()
        };
        let enqueued = DateTime::parse_from_rfc3339(property(ENQUEUED)?.as_str()?).ok()?;
        Some(Self {
            key: JobKey(Uuid::try_parse(property(ORIGIN)?.as_str()?).ok()?),
            r#gen: number(GEN).filter(|number| *number > 0)?,
            attempt: number(ATTEMPT)
                .or_else(|| number(STORED))
                .filter(|number| *number >= 0)?,
            enqueued: enqueued.with_timezone(&Utc),
        })
    }

    /// The copy as a row of the outbox with the id `id`.
    pub(crate) fn promise(&self, id: Uuid, original: Original) -> Promised {
        let mut properties = original.properties;
        let enqueued = self.enqueued.to_rfc3339_opts(SecondsFormat::Micros, true);
        for (name, value) in [
            (ORIGIN, json!(self.key.to_string())),
            (GEN, json!(self.r#gen)),
            (ATTEMPT, json!(self.attempt)),
            (ENQUEUED, json!(enqueued)),
        ] {
            properties.insert(name.to_owned(), value);
        }
        let mut body = original.body;
        if body.len() > MAX_CARRIED_BYTES {
            properties.remove(ATTEMPT);
            properties.insert(STORED.to_owned(), json!(self.attempt));
            body = Bytes::new();
        }
        let mut message_id = format!("{ID_PREFIX}{}:{}", self.key, self.r#gen);
        if original.rescues > 0 {
            message_id = format!("{message_id}:{}", original.rescues);
        }
        Promised {
            id,
            queue: original.queue,
            message_id,
            session_id: original.session_id,
            due: original.due,
            properties: Value::Object(properties).to_string(),
            body,
            wakes: Some(self.key),
        }
    }
}

/// What a copy has from its original, and where it goes.
#[derive(Debug, Clone)]
pub(crate) struct Original {
    pub(crate) queue: String,
    /// Not delivered before.
    pub(crate) due: Option<DateTime<Utc>>,
    pub(crate) session_id: Option<String>,
    /// The producer's own.
    pub(crate) properties: Map<String, Value>,
    pub(crate) body: Bytes,
    /// How many copies with the same number went before it. A broker with duplicate detection must
    /// not take it for one of those.
    pub(crate) rescues: i32,
}

/// The copy of a message that waits, as a row of the outbox with the id `id`.
pub(crate) fn copy_of(waiting: ToWake, id: Uuid) -> Promised {
    let copy = CopyOf {
        key: waiting.key,
        r#gen: waiting.r#gen,
        attempt: waiting.attempt,
        enqueued: waiting.enqueued,
    };
    let original = Original {
        queue: waiting.queue,
        due: None,
        session_id: waiting.session_id,
        // What we have written ourselves is an object.
        properties: serde_json::from_str(&waiting.properties).unwrap_or_default(),
        body: waiting.body.into(),
        rescues: waiting.rescues,
    };
    copy.promise(id, original)
}

/// Whose copy a message is that has its body in the database; `None` for others.
pub(crate) fn stored(message: &TriggerMessage) -> Option<JobKey> {
    message.application_properties.get(STORED)?;
    CopyOf::read(message).map(|copy| copy.key)
}

/// The finish messages of fan-outs whose last part has ended, as rows of the outbox.
pub(crate) fn finish_of(
    finished: Vec<Finished>,
    mut new_id: impl FnMut() -> Uuid,
) -> impl Iterator<Item = Promised> {
    finished.into_iter().map(move |finished| {
        // What we have written ourselves is an object.
        let mut properties: Map<String, Value> =
            serde_json::from_str(&finished.finish.properties).unwrap_or_default();
        properties.insert(FAILED_CHILDREN.to_owned(), finished.failed.into());
        Promised {
            id: new_id(),
            properties: Value::Object(properties).to_string(),
            ..finished.finish
        }
    })
}

/// The fan-out that `message` is a child in.
pub(crate) fn parent(message: &TriggerMessage) -> Option<Uuid> {
    let parent = message.application_properties.get(PARENT)?;
    Uuid::try_parse(parent.as_str()?).ok()
}

/// The properties that are not those of a copy.
pub(crate) fn own_properties(message: &TriggerMessage) -> Map<String, Value> {
    let all = message.application_properties.iter();
    all.filter(|(name, _)| !ADDED.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use nightshift_testkit::message;

    use super::*;

    #[test]
    fn a_copy_says_whose_it_is_and_keeps_what_the_producer_said() {
        let now: DateTime<Utc> = "2026-11-22T01:02:03.000456Z".parse().unwrap();
        let original = message("m", "{}", now)
            .with_property("traceparent", "00-1-2-3")
            .with_property("ns-gen", "forged")
            .build();
        assert_eq!(CopyOf::read(&original), None);
        let copy = CopyOf {
            key: JobKey::of_message_id("f", "m"),
            r#gen: 3,
            attempt: 2,
            enqueued: now,
        };
        let told = Original {
            queue: "q".to_owned(),
            due: Some(now),
            session_id: None,
            properties: own_properties(&original),
            body: original.body.clone(),
            rescues: 0,
        };
        let rescue = Original {
            rescues: 2,
            ..told.clone()
        };
        let promised = copy.promise(Uuid::nil(), told);
        assert_eq!(promised.message_id, format!("ns:{}:3", copy.key));
        let second = copy.promise(Uuid::nil(), rescue);
        assert_eq!(second.message_id, format!("ns:{}:3:2", copy.key));
        assert!(promised.message_id.len() <= 128, "the service's limit");
        let properties: Map<String, Value> = serde_json::from_str(&promised.properties).unwrap();
        assert_eq!(properties["traceparent"], "00-1-2-3");
        let mut sent = original;
        sent.application_properties = properties;
        assert_eq!(CopyOf::read(&sent), Some(copy));
        let number = |name: &str, value: Value| {
            let mut changed = sent.clone();
            changed
                .application_properties
                .insert(name.to_owned(), value);
            CopyOf::read(&changed)
        };
        assert_eq!(number(GEN, json!("3")), Some(copy));
        assert_eq!(number(GEN, json!(0)), None);
        assert_eq!(number(ATTEMPT, json!(-1)), None);
        assert_eq!(number(ATTEMPT, json!(1_u64 << 40)), None);
    }

    #[test]
    fn a_copy_that_would_not_fit_says_where_its_body_is() {
        let now = DateTime::UNIX_EPOCH;
        let copy = CopyOf {
            key: JobKey::of_message_id("f", "m"),
            r#gen: 1,
            attempt: 1,
            enqueued: now,
        };
        let original = |length: usize| Original {
            queue: "q".to_owned(),
            due: None,
            session_id: None,
            properties: Map::new(),
            body: vec![b'x'; length].into(),
            rescues: 0,
        };
        let delivered = |promised: Promised| {
            let mut copy = message("c", promised.body, now).build();
            copy.application_properties = serde_json::from_str(&promised.properties).unwrap();
            copy
        };
        let small = delivered(copy.promise(Uuid::nil(), original(MAX_CARRIED_BYTES)));
        assert_eq!(stored(&small), None);
        let large = delivered(copy.promise(Uuid::nil(), original(MAX_CARRIED_BYTES + 1)));
        assert_eq!(large.body.len(), 0);
        assert_eq!(stored(&large), Some(copy.key));
        assert_eq!(own_properties(&large), Map::new());
    }
}
