//! What the broker says when it opens a link: sizes that it takes, and the session that it gave.
//!
//! The bytes are a stranger's: what is missing or of another type counts as not said. Whether a
//! session that was asked for is there is for the caller to see.

use chrono::{DateTime, Utc};
use nightshift_amqp::Value;
use nightshift_amqp::performative::Attach;

use crate::connection::Attached;

/// The entry of a source's filter that names a session.
pub(super) const SESSION_FILTER: &str = "com.microsoft:session-filter";
/// The link property that says how long the broker may look for a session, in milliseconds.
pub(super) const TIMEOUT: &str = "com.microsoft:timeout";
/// The link property that says when the lock of the session ends.
const LOCKED_UNTIL: &str = "com.microsoft:locked-until-utc";
const MAX_BATCH_SIZE: &str = "com.microsoft:max-message-batch-size";

/// What a batch may weigh on an entity that does not say, by the size of its messages.
const BATCH_SIZE_STANDARD: u64 = 256 * 1024;
const BATCH_SIZE_PREMIUM: u64 = 1024 * 1024;

/// .NET counts time in ticks of 100 ns, and from the year 1.
const TICKS_PER_MILLISECOND: i64 = 10_000;
const TICKS_UNTIL_1970: i64 = 621_355_968_000_000_000;

/// Reads the broker's attach. No size stated means no limit to messages; batches get the
/// service's own limits then.
pub(crate) fn read(attach: &Attach) -> Attached {
    let property = |name| attach.properties.as_ref()?.get(name);
    let max_message_size = match attach.max_message_size {
        None | Some(0) => u64::MAX,
        Some(size) => size,
    };
    let stated = property(MAX_BATCH_SIZE)
        .and_then(Value::as_u64)
        .filter(|size| *size > 0);
    let usual = if max_message_size >= BATCH_SIZE_PREMIUM {
        BATCH_SIZE_PREMIUM
    } else {
        BATCH_SIZE_STANDARD
    };
    Attached {
        max_message_size,
        max_batch_size: stated.unwrap_or(usual).min(max_message_size),
        session_id: session_id(attach),
        session_locked_until: property(LOCKED_UNTIL).and_then(instant),
    }
}

/// The filter's value is a string, or a described one.
fn session_id(attach: &Attach) -> Option<String> {
    let value = attach
        .source
        .as_ref()?
        .filter
        .as_ref()?
        .get(SESSION_FILTER)?;
    let value = match value {
        Value::Described(described) => &described.value,
        plain => plain,
    };
    value.as_str().map(str::to_owned)
}

/// The service says ticks; a timestamp is taken as well.
fn instant(value: &Value) -> Option<DateTime<Utc>> {
    let millis = match value {
        Value::Timestamp(instant) => instant.as_millis(),
        ticks => ticks.as_i64()?.checked_sub(TICKS_UNTIL_1970)? / TICKS_PER_MILLISECOND,
    };
    DateTime::from_timestamp_millis(millis)
}

#[cfg(test)]
mod tests {
    use nightshift_amqp::performative::{Role, Source};
    use nightshift_amqp::{Described, Map, Timestamp};

    use super::*;

    fn attach(properties: Map, filter: Map) -> Attach {
        let mut source = Source::new("q");
        source.filter = Some(filter);
        let mut attach = Attach::new("l", 0, Role::Sender);
        attach.source = Some(source);
        attach.properties = Some(properties);
        attach
    }

    #[test]
    fn sizes_have_the_services_defaults() {
        let of = |size: Option<u64>, batch: Option<u64>| {
            let mut properties = Map::new();
            if let Some(batch) = batch {
                properties.insert_symbol(MAX_BATCH_SIZE, Value::Ulong(batch));
            }
            let mut attach = attach(properties, Map::new());
            attach.max_message_size = size;
            let attached = read(&attach);
            (attached.max_message_size, attached.max_batch_size)
        };
        assert_eq!(of(None, None), (u64::MAX, BATCH_SIZE_PREMIUM));
        assert_eq!(of(Some(0), Some(0)), (u64::MAX, BATCH_SIZE_PREMIUM));
        assert_eq!(of(Some(262_144), None), (262_144, 262_144));
        assert_eq!(of(Some(1_000), Some(u64::MAX)), (1_000, 1_000));
    }

    #[test]
    fn a_session_is_named_plainly_or_described() {
        let described = Described {
            descriptor: Value::Ulong(0x0013_7000_000c),
            value: Value::from("s"),
        };
        for value in [Value::from("s"), Value::Described(Box::new(described))] {
            let mut filter = Map::new();
            filter.insert_symbol(SESSION_FILTER, value);
            assert_eq!(
                read(&attach(Map::new(), filter)).session_id.as_deref(),
                Some("s")
            );
        }
        for value in [Value::Null, Value::Int(1), Value::List(vec![])] {
            let mut filter = Map::new();
            filter.insert_symbol(SESSION_FILTER, value);
            assert_eq!(read(&attach(Map::new(), filter)).session_id, None);
        }
    }

    #[test]
    fn the_end_of_a_session_lock_is_told_in_ticks_or_as_a_timestamp() {
        let of = |value: Value| {
            let mut properties = Map::new();
            properties.insert_symbol(LOCKED_UNTIL, value);
            read(&attach(properties, Map::new())).session_locked_until
        };
        let end = DateTime::from_timestamp_millis(1_767_225_600_123);
        let ticks = 1_767_225_600_123 * TICKS_PER_MILLISECOND + TICKS_UNTIL_1970;
        assert_eq!(of(Value::Long(ticks)), end);
        assert_eq!(of(Timestamp::from_millis(1_767_225_600_123).into()), end);
        for value in [
            Value::Long(i64::MIN),
            Value::Ulong(u64::MAX),
            Timestamp::from_millis(i64::MAX).into(),
            Value::from("soon"),
        ] {
            assert_eq!(of(value.clone()), None, "{value:?}");
        }
    }
}
