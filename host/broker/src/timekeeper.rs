//! The task that ends locks and lives when nobody is looking.
//!
//! Receiving and settling check the time themselves, so this task is not needed for correctness but
//! for the receivers that wait: a message whose lock ended goes to them without anybody's doing.
//! It sleeps until the next deadline of any queue, but not longer than [`LONGEST_SLEEP`] while there
//! is one: the wall clock can be set, and the clock of a test jumps.

use std::{sync::Arc, time::Duration};

use nightshift_time::SharedClock;
use tokio_util::sync::CancellationToken;

use crate::{entity::Namespace, journal::Journal};

/// How late a jump of the clock may be noticed.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// Runs until `stop`.
pub(crate) async fn keep_time(
    namespace: Arc<Namespace>,
    clock: SharedClock,
    journal: Option<Arc<Journal>>,
    stop: CancellationToken,
) {
    loop {
        let alarm = namespace.alarm();
        let now_ms = clock.now().timestamp_millis();
        if alarm.at_ms() <= now_ms {
            // Forget first: a deadline set meanwhile is then seen, at worst once too often.
            alarm.reset();
            for entity in namespace.entities() {
                entity.with(|queue| queue.expire(clock.now()));
                if let Some(journal) = &journal {
                    journal.room().await;
                }
            }
            tokio::task::yield_now().await;
            if stop.is_cancelled() {
                return;
            }
            continue;
        }
        let pause = match alarm.at_ms() {
            i64::MAX => Duration::MAX,
            at_ms => Duration::from_millis(at_ms.abs_diff(now_ms)).min(LONGEST_SLEEP),
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = alarm.moved() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
