//! A call to another system: made between two transactions, of which the second says how it ended.

use nightshift_job::{Enqueue, Item, Outcome};
use nightshift_postgres::inbox::BEGIN;
use nightshift_postgres::{Lease, is_conflict};
use nightshift_telemetry::causes;
use nightshift_telemetry::trace::TRACE;
use rand::Rng;
use sqlx::Connection;
use tokio::time::sleep;
use tracing::Instrument;
use uuid::Uuid;

use super::attempt::{Attempt, spawn_all, transaction};
use super::failed::{AttemptFailed, guard, guard_call, platform_failed};
use super::{HOLD_FIRST, HOLD_MAX, Invocation, LEAST_RUN, Runner};
use crate::fate::Failure;
use crate::member::{Content, Member};
use crate::shape::Shape;
use crate::work::{Calling, Work};

/// How a call ended.
enum Called<A> {
    Answered {
        answer: A,
        /// What it has sent, which leaves with its end.
        enqueued: Vec<(Enqueue, Option<String>)>,
    },
    Failed(Failure),
}

impl<S: Shape> Runner<S> {
    /// Makes the call that was committed, and writes how it ended.
    pub(super) async fn call(
        &self,
        member: &Member<S::Input>,
        calling: Calling<S::Call>,
        attempt: Attempt<'_>,
        invocation: &Invocation<'_>,
    ) -> Result<(), AttemptFailed> {
        let Content::Runnable(item) = &member.content else {
            return Ok(());
        };
        let Calling { id, call } = calling;
        // Without time left the call is not made: whoever takes it over has the lease by then.
        let limit = invocation.slice(0, &S::POLICY).unwrap_or_default();
        let limit = limit.min(attempt.limit);
        let cx = self.cx(limit, &invocation.call.cancellation);
        let called = if limit < LEAST_RUN {
            Err(Failure {
                counts: false,
                ..Failure::passing("no time was left for the call".to_owned())
            })
        } else {
            let span = tracing::info_span!(
                target: TRACE,
                parent: member.span.get(),
                "function.call",
                otel.kind = "client",
                function.name = S::NAME,
                job.id = %item.key,
            );
            guard_call(limit, self.shape.call(item, call, &cx))
                .instrument(span)
                .await
        };
        let called = match called {
            Ok(answer) => Called::Answered {
                answer,
                enqueued: cx.take_enqueued(),
            },
            Err(failure) => Called::Failed(failure),
        };
        let mut wait = HOLD_FIRST;
        loop {
            let settled = self.settle(member, item, id, &called, invocation).await;
            match settled {
                Err(AttemptFailed::Database(error)) if !is_conflict(&error) => {
                    let failure = Failure {
                        is_unknown: true,
                        ..Failure::passing(causes(&error))
                    };
                    let called = Called::Failed(failure);
                    return self.settle(member, item, id, &called, invocation).await;
                }
                Err(
                    error @ (AttemptFailed::Away(_)
                    | AttemptFailed::Database(_)
                    | AttemptFailed::Conflict(_)),
                ) => {
                    // The answer is known here and nowhere else.
                    tracing::warn!(function.name = S::NAME, job.key = %item.key, %error, "the end of a call cannot be written; trying on");
                    sleep(wait).await;
                    wait = (wait * 2).min(HOLD_MAX);
                }
                Err(AttemptFailed::Function(failure) | AttemptFailed::TooSlow(failure)) => {
                    let failure = Failure {
                        is_unknown: true,
                        ..failure
                    };
                    let called = Called::Failed(failure);
                    return self.settle(member, item, id, &called, invocation).await;
                }
                other => {
                    if other.is_ok() {
                        spawn_all(cx.take_after_commit());
                    }
                    return other;
                }
            }
        }
    }

    /// One transaction that says how the call `id` ended.
    async fn settle(
        &self,
        member: &Member<S::Input>,
        item: &Item<S::Input>,
        id: Uuid,
        called: &Called<S::Answer>,
        invocation: &Invocation<'_>,
    ) -> Result<(), AttemptFailed> {
        let settled = async {
            let mut lease = Lease::take(&self.pool).await.map_err(platform_failed)?;
            let mut tx = lease.connection().begin_with(BEGIN).await?;
            let now = self.clock.now();
            let resumed = Work::resume(&mut tx, &self.function, member, id).await;
            let Some(mut work) = resumed.map_err(platform_failed)? else {
                tracing::warn!(function.name = S::NAME, job.key = %item.key, "a call took so long that its message was taken over");
                return Ok(());
            };
            let limit = S::POLICY.timeout.min(invocation.left().max(LEAST_RUN));
            let cx = self.cx(limit, &invocation.call.cancellation);
            match called {
                Called::Failed(failure) => {
                    if !failure.is_unknown {
                        work.forget_calls();
                    }
                    work.fail(failure, now, rand::rng().random());
                }
                Called::Answered { answer, enqueued } => {
                    work.forget_calls();
                    let record = self.shape.record(item, answer, &mut tx, &cx);
                    let outcome: Outcome = guard(limit, record).await?;
                    work.take_outcome(outcome, self.clock.now());
                    cx.enqueue_all(enqueued);
                }
            }
            self.commit(tx, &work, &cx, None).await?;
            lease.end();
            Ok(())
        };
        settled.instrument(transaction(S::NAME, &[member])).await
    }
}
