//! `sample-job-work`: reminds a user, now or later.
//!
//! What: each message of the queue `sample-queue` is a [`SampleJobRequested`] and becomes a notification
//! to that user, when it is due. When: as soon as a message waits. Why it is safe to run twice: what is
//! enqueued leaves with the commit that holds the message's claim, and a message that was done is not run
//! again. What it leaves to others: the notification itself. A message for somebody who is not a user of
//! the application is refused.

pub use nightshift_contract::SampleJobRequested;
use nightshift_contract::{NotificationRequested, UserId};
use nightshift_job::{Cx, Enqueue, Item, JobError, Outcome, Policy, TransactionalFunction};
use sqlx::PgConnection;

/// Where notifications are asked for.
const NOTIFICATIONS: &str = "notifications";

/// The function.
#[derive(Debug, Clone, Copy, Default)]
pub struct Work;

impl TransactionalFunction for Work {
    const NAME: &'static str = "sample-job-work";
    const CONFIG: &'static str = include_str!("../work/function.json");
    const POLICY: Policy = Policy::DEFAULT;
    type Input = SampleJobRequested;

    async fn run(
        &self,
        item: &Item<SampleJobRequested>,
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> Result<Outcome, JobError> {
        let user = item.input.user_id;
        if !is_user(user, tx).await? {
            let what = format!("user_id: there is no user {user}; was the user deleted?");
            return Ok(Outcome::refused("unknown-user", what));
        }
        let message = Enqueue::to(NOTIFICATIONS, &notification(&item.input))?;
        let message = match item.input.due {
            Some(due) => message.not_before(due),
            None => message,
        };
        cx.enqueue(item, message);
        Ok(Outcome::Completed)
    }
}

async fn is_user(user: UserId, tx: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM app.users WHERE id = $1)")
        .bind(user.0)
        .fetch_one(tx)
        .await
}

fn notification(request: &SampleJobRequested) -> NotificationRequested {
    NotificationRequested {
        schema_version: 1,
        user_id: request.user_id,
        kind: request.kind.clone(),
        title: request.title.clone(),
        body: request.body.clone(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};
    use nightshift_contract::decode;
    use nightshift_testkit::{Workbench, message};

    use super::*;

    const SAMPLE: &str = include_str!("../work/sample.json");

    /// A bench with the function, and what time it is there.
    async fn bench() -> (Workbench, DateTime<Utc>) {
        let now: DateTime<Utc> = "2026-11-22T12:00:00Z".parse().unwrap();
        let bench = Workbench::new(now, |registry| registry.with_transactional(Work)).await;
        (bench, now)
    }

    #[tokio::test]
    async fn the_sample_becomes_a_notification_once() {
        let (bench, now) = bench().await;
        let sample = message("one", SAMPLE, now).build();
        for _ in 0..2 {
            let delivered = bench.deliver(Work::NAME, std::slice::from_ref(&sample));
            delivered.await.unwrap();
        }
        let sent = bench.enqueued().await;
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].queue, NOTIFICATIONS);
        let body = &sent[0].message.body;
        let sent: NotificationRequested = decode(body, Work::POLICY.max_body_bytes).unwrap();
        assert_eq!(sent.title.as_str(), "A reminder from sample-job");
        assert!(bench.dead().await.is_empty());
        bench.remove().await;
    }

    #[tokio::test]
    async fn what_is_due_later_comes_later_and_nobody_is_not_reminded() {
        let (bench, now) = bench().await;
        let mut wanted: serde_json::Value = serde_json::from_str(SAMPLE).unwrap();
        let due = now + TimeDelta::hours(3);
        wanted["due"] = due.to_rfc3339().into();
        let later = message("later", wanted.to_string(), now).build();
        wanted["user_id"] = "00000000-0000-4000-8000-ffffffffffff".into();
        let nobody = message("nobody", wanted.to_string(), now)
            .numbered(2)
            .build();
        let messages = [later, nobody];
        bench.deliver(Work::NAME, &messages).await.unwrap();
        let sent = bench.enqueued().await;
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].message.enqueued_time, due);
        let dead = bench.dead().await;
        assert_eq!(dead.len(), 1);
        assert_eq!(dead[0].reason, "unknown-user");
        bench.remove().await;
    }
}
