//! Rule 7: a call to another system is committed before it is made, and one whose end nobody knows
//! is known to be such.

use std::sync::atomic::{AtomicUsize, Ordering};

use nightshift_job::{ExternalFunction, Prepared};

use super::*;

/// How the other side answers one call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Yes,
    /// It was not reached.
    Refused,
    /// It was reached, and the connection broke.
    Broken,
    Never,
    Panic,
}

/// Calls as it is told, and writes a row for each answer. After a call whose end nobody knows it asks
/// whether the other side has acted.
#[derive(Debug, Clone, Default)]
pub(super) struct Caller {
    pub(super) answers: Arc<Mutex<Vec<Answer>>>,
    pub(super) calls: Arc<AtomicUsize>,
    has_acted: bool,
    /// What [`ExternalFunction::unknown`] says at first.
    asks_later: Arc<AtomicUsize>,
}

impl ExternalFunction for Caller {
    const NAME: &'static str = "caller";
    const CONFIG: &'static str = r#"{"bindings": [{"type": "serviceBusTrigger", "direction": "in",
        "name": "messages", "queueName": "caller", "connection": "ServiceBusConnection",
        "cardinality": "many", "dataType": "binary"}]}"#;
    const POLICY: Policy = Policy {
        max_attempts: 3,
        ..Scripted::POLICY
    };
    type Input = NotificationRequested;
    type Call = String;
    type Answer = String;

    async fn prepare(
        &self,
        item: &Item<NotificationRequested>,
        _tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Prepared<String>, JobError> {
        Ok(match item.input.title.as_str() {
            "nothing to do" => Prepared::End(Outcome::Skipped("nothing to do".to_owned())),
            title => Prepared::Call(format!("called for {title}")),
        })
    }

    async fn call(
        &self,
        item: &Item<NotificationRequested>,
        call: String,
        cx: &Cx,
    ) -> Result<String, JobError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if item.input.title.as_str() == "tells" {
            cx.enqueue(item, follow_up("called", None)?);
        }
        let answer = {
            let mut answers = self.answers.lock().unwrap();
            (!answers.is_empty()).then(|| answers.remove(0))
        };
        let failed = JobError::from(Told(Disposition::Retry));
        match answer.unwrap_or(Answer::Yes) {
            Answer::Yes => Ok(call),
            Answer::Refused => Err(failed),
            Answer::Broken => Err(failed.outcome_unknown()),
            Answer::Never => std::future::pending().await,
            Answer::Panic => panic!("the script says so"),
        }
    }

    async fn record(
        &self,
        item: &Item<NotificationRequested>,
        answer: &String,
        tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Outcome, JobError> {
        sqlx::query("INSERT INTO effect (key, title, attempt) VALUES ($1, $2, $3)")
            .bind(item.key.0)
            .bind(answer)
            .bind(i32::try_from(item.attempt).unwrap())
            .execute(tx)
            .await?;
        Ok(Outcome::Completed)
    }

    async fn unknown(
        &self,
        item: &Item<NotificationRequested>,
        _tx: &mut PgConnection,
        cx: &Cx,
    ) -> Result<Prepared<String>, JobError> {
        match self.asks_later.load(Ordering::SeqCst) {
            0 => {}
            left => {
                self.asks_later.store(left - 1, Ordering::SeqCst);
                if left % 2 == 0 {
                    return Err(Told(Disposition::Retry).into());
                }
                return Ok(Prepared::End(Outcome::Snooze(cx.now())));
            }
        }
        Ok(if self.has_acted {
            Prepared::End(Outcome::Skipped(
                "the other side says it is done".to_owned(),
            ))
        } else {
            Prepared::Call(format!("called again for {}", item.input.title.as_str()))
        })
    }
}

async fn world(answers: &[Answer]) -> (World, Caller) {
    let caller = Caller {
        answers: Arc::new(Mutex::new(answers.to_vec())),
        ..Caller::default()
    };
    let mut world = World::new(&[]).await;
    world.registry = with_caller(&world, &caller);
    (world, caller)
}

fn with_caller(world: &World, caller: &Caller) -> Registry {
    world.restarted().with_external(caller.clone()).unwrap()
}

/// As if the lease of every call had ended.
async fn leases_end(world: &World) {
    let pool = world.database.pool();
    pool.execute("UPDATE nightshift.open_message SET due_at = now(), rescue_at = now()")
        .await
        .unwrap();
}

async fn deliver_call(world: &World, messages: &[TriggerMessage]) {
    world.deliver_to("caller", messages).await.unwrap();
}

#[tokio::test]
async fn rule_7_an_answer_is_written_once_and_a_redelivery_does_not_call() {
    let (world, caller) = world(&[]).await;
    let messages = ["a", "tells", "nothing to do"].map(titled);
    deliver_call(&world, &messages).await;
    deliver_call(&world, &messages).await;
    assert_eq!(
        world.effects().await,
        ["called for a 1", "called for tells 1"]
    );
    assert_eq!(caller.calls.load(Ordering::SeqCst), 2);
    assert_eq!(world.promised().await.len(), 1, "what a call has sent");
    world.end().await;
}

#[tokio::test]
async fn rule_7_what_is_unknown_stays_so_until_the_function_has_decided() {
    let (world, caller) = world(&[Answer::Broken]).await;
    // It cannot ask, then it wants to ask later.
    caller.asks_later.store(2, Ordering::SeqCst);
    deliver_call(&world, &[titled("a")]).await;
    for state in ["a unknown 2 1", "a retry 3 2", "a snooze 4 2"] {
        assert_eq!(world.waiting().await, [state]);
        let copy = world.copy().await;
        deliver_call(&world, &[copy]).await;
    }
    assert_eq!(world.effects().await, ["called again for a 3"]);
    assert_eq!(caller.calls.load(Ordering::SeqCst), 2);
    world.end().await;
}

#[tokio::test]
async fn rule_7_a_call_that_ends_its_processes_is_a_dead_letter_in_the_end() {
    let (world, caller) = world(&[Answer::Never, Answer::Never, Answer::Never]).await;
    let mut messages = vec![titled("a")];
    for _ in 0..3 {
        let dies = deliver_to(&world.registry, "caller", &messages);
        tokio::time::timeout(Duration::from_millis(500), dies)
            .await
            .unwrap_err();
        leases_end(&world).await;
        messages = take_overdue(world.database.pool(), start_of_time()).await;
        assert_eq!(messages.len(), 1);
    }
    deliver_call(&world, &messages).await;
    assert_eq!(world.dead().await, ["a kills-the-process 3"]);
    assert_eq!(caller.calls.load(Ordering::SeqCst), 3);
    // Should an operator redrive it, the function is still asked.
    let copy = redrive::redriven(&world, "a").await;
    deliver_call(&world, &[copy]).await;
    assert_eq!(world.effects().await, ["called again for a 1"]);
    world.end().await;
}

#[tokio::test]
async fn rule_7_a_call_that_failed_is_tried_again_like_any_other_failure() {
    let (world, caller) = world(&[Answer::Refused, Answer::Refused, Answer::Refused]).await;
    deliver_call(&world, &[titled("a")]).await;
    // 1: the claim and the call, 2: the pause.
    assert_eq!(world.waiting().await, ["a retry 2 1"]);
    for _ in 0..2 {
        let copy = world.copy().await;
        deliver_call(&world, &[copy]).await;
    }
    assert_eq!(world.dead().await, ["a attempts-used-up 3"]);
    assert_eq!(caller.calls.load(Ordering::SeqCst), 3);
    world.end().await;
}

#[tokio::test]
async fn rule_7_a_call_whose_end_nobody_knows_is_decided_by_the_function() {
    for unknown in [Answer::Broken, Answer::Never, Answer::Panic] {
        for has_acted in [true, false] {
            let (mut world, mut caller) = world(&[unknown]).await;
            caller.has_acted = has_acted;
            world.registry = with_caller(&world, &caller);
            deliver_call(&world, &[titled("a")]).await;
            assert_eq!(world.waiting().await, ["a unknown 2 1"]);
            let copy = world.copy().await;
            deliver_call(&world, &[copy]).await;
            let effects: &[&str] = if has_acted {
                &[]
            } else {
                &["called again for a 2"]
            };
            assert_eq!(world.effects().await, effects);
            let calls = 1 + usize::from(!has_acted);
            assert_eq!(caller.calls.load(Ordering::SeqCst), calls);
            world.end().await;
        }
    }
}

#[tokio::test]
async fn rule_7_a_call_under_which_the_process_died_is_unknown_once_its_time_is_over() {
    let (world, caller) = world(&[Answer::Never]).await;
    // Whoever makes the call does not live to see its end.
    let other = with_caller(&world, &caller);
    let original = [titled("a")];
    let dies = deliver_to(&other, "caller", &original);
    tokio::time::timeout(Duration::from_millis(500), dies)
        .await
        .unwrap_err();
    assert_eq!(world.waiting().await, ["a calling 1 0"]);
    assert_eq!(world.promised().await, [], "nothing wakes it before");
    // The broker delivers the original again: the call may be under way.
    deliver_call(&world, &original).await;
    assert_eq!(caller.calls.load(Ordering::SeqCst), 1);
    // The same goes for an alarm that comes too early.
    assert!(
        take_overdue(world.database.pool(), start_of_time())
            .await
            .is_empty()
    );
    let pool = world.database.pool();
    pool.execute("UPDATE nightshift.open_message SET rescue_at = now()")
        .await
        .unwrap();
    let copies = take_overdue(pool, start_of_time()).await;
    assert_eq!(copies.len(), 1);
    deliver_call(&world, &copies).await;
    assert_eq!(caller.calls.load(Ordering::SeqCst), 1);
    leases_end(&world).await;
    deliver_call(&world, &copies).await;
    assert_eq!(world.effects().await, ["called again for a 1"]);
    assert_eq!(caller.calls.load(Ordering::SeqCst), 2);
    world.end().await;
}

#[tokio::test]
async fn rule_7_a_caller_that_was_taken_for_dead_writes_nothing() {
    let (world, caller) = world(&[Answer::Never]).await;
    let slow = with_caller(&world, &caller);
    let original = [titled("a")];
    let taken_over = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        leases_end(&world).await;
        let copies = take_overdue(world.database.pool(), start_of_time()).await;
        deliver_call(&world, &copies).await;
    };
    let (slow, ()) = tokio::join!(deliver_to(&slow, "caller", &original), taken_over);
    slow.unwrap();
    assert_eq!(world.effects().await, ["called again for a 1"]);
    assert_eq!(world.waiting().await, [""; 0]);
    world.end().await;
}

#[tokio::test]
async fn rule_7_a_clock_that_jumps_a_day_ahead_does_not_end_a_calls_lease() {
    let (world, caller) = world(&[Answer::Never]).await;
    let other = with_caller(&world, &caller);
    let original = [titled("a")];
    let dies = deliver_to(&other, "caller", &original);
    tokio::time::timeout(Duration::from_millis(500), dies)
        .await
        .unwrap_err();
    world.clock.set(after(86_400));
    deliver_call(&world, &original).await;
    let overdue = take_overdue(world.database.pool(), start_of_time()).await;
    assert_eq!(overdue, []);
    assert_eq!(caller.calls.load(Ordering::SeqCst), 1);
    leases_end(&world).await;
    let copies = take_overdue(world.database.pool(), start_of_time()).await;
    deliver_call(&world, &copies).await;
    assert_eq!(world.effects().await, ["called again for a 1"]);
    world.end().await;
}
