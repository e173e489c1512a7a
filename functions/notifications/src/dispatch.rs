//! `notifications-dispatch`: from the queue `notifications` to the in-app inbox.
//!
//! What: each message is a [`NotificationRequested`]; a whole batch becomes rows of
//! `nightshift.notification` with one statement. When: as soon as messages wait. Why it is safe to
//! run twice: the rows are written in the transaction that claims the messages, under ids that are
//! the messages' keys. A message for somebody who is not a user of the application is refused.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use nightshift_contract::NotificationRequested;
use nightshift_job::{BatchFunction, Cx, Item, JobError, Outcome, Policy};
use nightshift_telemetry::trace::TRACE;
use sqlx::PgConnection;
use tracing::instrument;
use uuid::Uuid;

/// The function.
#[derive(Debug, Clone, Copy, Default)]
pub struct Dispatch;

impl BatchFunction for Dispatch {
    const NAME: &'static str = "notifications-dispatch";
    const CONFIG: &'static str = include_str!("../dispatch/function.json");
    const POLICY: Policy = Policy::DEFAULT;
    type Input = NotificationRequested;

    async fn run(
        &self,
        items: &[&Item<NotificationRequested>],
        tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Vec<Outcome>, JobError> {
        let delivered = insert_notifications(items, tx).await?;
        Ok(items.iter().map(|item| outcome(item, &delivered)).collect())
    }
}

fn outcome(item: &Item<NotificationRequested>, delivered: &HashSet<Uuid>) -> Outcome {
    if delivered.contains(&item.key.0) {
        return Outcome::Completed;
    }
    let user = item.input.user_id;
    Outcome::refused(
        "unknown-user",
        format!(
            "user_id: there is no user {user}; was the user deleted, or does the producer use another application's ids?"
        ),
    )
}

/// Writes a notification for each item whose user exists and returns the ids written.
#[instrument(target = TRACE, name = "db.notification.insert", skip_all)]
async fn insert_notifications(
    items: &[&Item<NotificationRequested>],
    tx: &mut PgConnection,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    let ids: Vec<Uuid> = items.iter().map(|item| item.key.0).collect();
    let users: Vec<Uuid> = items.iter().map(|item| item.input.user_id.0).collect();
    let kinds: Vec<&str> = items.iter().map(|item| item.input.kind.as_str()).collect();
    let titles: Vec<&str> = items.iter().map(|item| item.input.title.as_str()).collect();
    let bodies: Vec<&str> = items.iter().map(|item| item.input.body.as_str()).collect();
    let enqueued: Vec<DateTime<Utc>> = items.iter().map(|item| item.enqueued).collect();
    let written = sqlx::query_file_scalar!(
        "sql/insert_notifications.sql",
        &ids,
        &users,
        &kinds as &[&str],
        &titles as &[&str],
        &bodies as &[&str],
        &enqueued,
    )
    .fetch_all(tx)
    .await?;
    Ok(written.into_iter().collect())
}
