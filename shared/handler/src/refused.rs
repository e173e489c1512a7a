//! What the broker refuses for good becomes a dead letter, and whoever waits for its end is told.

use nightshift_job::{JobKey, Refusal, TickId};
use nightshift_postgres::fan_out::{self, Ended};
use nightshift_postgres::inbox::BEGIN;
use nightshift_postgres::{dead_letter, outbox, schedule};
use serde_json::{Map, Value};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::copy;
use crate::ping::TickEnd;

/// Buries the promised message `id`, for what `description` says: its tick or its fan-out ends with it.
/// What goes next is promised, and sent by a sweep. Returns the end of its tick.
pub(crate) async fn bury(
    connection: &mut PgConnection,
    id: Uuid,
    description: String,
    new_id: impl FnMut() -> Uuid,
) -> Result<Option<TickEnd>, sqlx::Error> {
    let mut tx = connection.begin_with(BEGIN).await?;
    let refusal = Refusal {
        reason: "cannot-be-sent",
        description,
    };
    let mut ended = None;
    if let Some(buried) = outbox::bury(&mut tx, id, &refusal).await? {
        let mut next = Vec::new();
        // What we have written ourselves is an object.
        let mut properties: Map<String, Value> =
            serde_json::from_str(&buried.properties).unwrap_or_default();
        if let Some(parent) = properties.remove(copy::PARENT) {
            let parent = parent.as_str().and_then(|id| Uuid::try_parse(id).ok());
            let ended = parent.map(|parent| Ended {
                parent,
                ended: 1,
                failed: 1,
            });
            let finished = fan_out::end(&mut tx, ended.as_slice()).await?;
            next.extend(copy::finish_of(finished, new_id));
            // Should it be redriven, it does not count again.
            let properties = Value::Object(properties.clone()).to_string();
            dead_letter::set_properties(&mut tx, JobKey(buried.key), &properties).await?;
        }
        if let Some(tick) = tick(buried.message_id.as_deref(), &properties) {
            let failed = schedule::Ended::Failed(refusal.description);
            let finished = schedule::finish(&mut tx, &tick, &failed).await?;
            ended = TickEnd::of(&tick, &failed, &finished);
            next.extend(finished.next);
        }
        if !next.is_empty() {
            outbox::promise(&mut tx, &next).await?;
        }
    }
    tx.commit().await?;
    Ok(ended)
}

/// The tick whose message it is, or that it carries on.
fn tick(message_id: Option<&str>, properties: &Map<String, Value>) -> Option<TickId> {
    let carried = properties.get(copy::TICK).and_then(Value::as_str);
    TickId::of_message(carried.or(message_id)?)
}
