//! Rule 8: long work is one process's at a time, is taken over when that process is gone, and nothing
//! that a process writes which only seemed to be gone commits.

use nightshift_job::Outcome;
use nightshift_postgres::run::{LongFunction, Run};
use tokio::sync::Semaphore;

use super::*;

const STEPS: i32 = 4;

/// Writes one row for each of four steps, each in a transaction of its own, as soon as it may.
#[derive(Debug, Clone)]
struct Stepper {
    may: Arc<Semaphore>,
}

impl LongFunction for Stepper {
    const NAME: &'static str = "stepper";
    const CONFIG: &'static str = r#"{"bindings": [{"type": "serviceBusTrigger", "direction": "in",
        "name": "messages", "queueName": "stepper", "connection": "ServiceBusConnection",
        "cardinality": "one", "dataType": "binary"}]}"#;
    const POLICY: Policy = Policy {
        timeout: Duration::from_mins(1),
        ..Scripted::POLICY
    };
    const LEASE: Duration = Duration::from_secs(6);
    type Input = NotificationRequested;

    async fn run(
        &self,
        item: &Item<NotificationRequested>,
        run: &Run,
        _cx: &Cx,
    ) -> Result<Outcome, JobError> {
        let done: i32 = run.saved()?.unwrap_or(0);
        for step in done + 1..=STEPS {
            self.may.acquire().await.unwrap().forget();
            let mut tx = run.begin().await?;
            sqlx::query("INSERT INTO step (key, step, epoch) VALUES ($1, $2, $3)")
                .bind(item.key.0)
                .bind(step)
                .bind(run.epoch())
                .execute(&mut *tx)
                .await?;
            run.save(&mut tx, &step).await?;
            if step == STEPS {
                run.report(&mut tx, &serde_json::json!({"steps": step}))
                    .await?;
            }
            tx.commit().await?;
            run.progress(&format!("{step} of {STEPS}")).await?;
        }
        Ok(Outcome::Completed)
    }
}

struct Stepping {
    world: World,
    may: Arc<Semaphore>,
}

impl Stepping {
    async fn new() -> Self {
        let world = World::new(&[]).await;
        let pool = world.database.pool();
        pool.execute("CREATE TABLE step (key uuid, step integer, epoch integer)")
            .await
            .unwrap();
        let may = Arc::new(Semaphore::new(0));
        Self { world, may }
    }

    /// Another process, which works as soon as `may` says so.
    fn process(&self, may: &Arc<Semaphore>) -> Registry {
        let may = Arc::clone(may);
        self.world.restarted().with_long(Stepper { may }).unwrap()
    }

    async fn steps(&self) -> Vec<String> {
        self.world
            .texts("SELECT format('%s in %s', step, epoch) FROM step ORDER BY step, epoch")
            .await
    }

    async fn run(&self) -> Vec<String> {
        self.world
            .texts(
                "SELECT format('epoch %s, %s, %s, %s', epoch, progress, report ->> 'steps',
                        ended_at IS NOT NULL) FROM nightshift.run",
            )
            .await
    }

    /// The lease ends, and the sweep sends a copy.
    async fn copies_after_the_lease(&self) -> Vec<TriggerMessage> {
        let pool = self.world.database.pool();
        pool.execute("UPDATE nightshift.open_message SET due_at = now(), rescue_at = now()")
            .await
            .unwrap();
        take_overdue(pool, start_of_time()).await
    }
}

async fn step(registry: &Registry, messages: &[TriggerMessage]) -> Result<(), InvocationFailed> {
    deliver_to(registry, Stepper::NAME, messages).await
}

async fn cut_off(registry: &Registry, messages: &[TriggerMessage]) {
    let dies = step(registry, messages);
    tokio::time::timeout(Duration::from_millis(700), dies)
        .await
        .unwrap_err();
}

#[tokio::test]
async fn rule_8_a_run_says_how_far_it_is_and_what_came_of_it() {
    let stepping = Stepping::new().await;
    stepping.may.add_permits(4);
    let process = stepping.process(&stepping.may);
    step(&process, &[titled("a")]).await.unwrap();
    assert_eq!(
        stepping.steps().await,
        ["1 in 1", "2 in 1", "3 in 1", "4 in 1"]
    );
    assert_eq!(stepping.run().await, ["epoch 1, \"4 of 4\", 4, t"]);
    step(&process, &[titled("a")]).await.unwrap();
    assert_eq!(stepping.steps().await.len(), 4);
    stepping.world.end().await;
}

#[tokio::test]
async fn rule_8_a_run_whose_process_died_is_taken_over_where_it_was() {
    let stepping = Stepping::new().await;
    stepping.may.add_permits(2);
    let process = stepping.process(&stepping.may);
    cut_off(&process, &[titled("a")]).await;
    assert_eq!(stepping.run().await, ["epoch 1, \"2 of 4\", , f"]);
    // While its lease lasts a delivery is completed: the row carries the work.
    stepping.may.add_permits(2);
    step(&process, &[titled("a")]).await.unwrap();
    assert_eq!(stepping.steps().await.len(), 2);
    let copies = stepping.copies_after_the_lease().await;
    assert_eq!(copies.len(), 1);
    step(&process, &copies).await.unwrap();
    assert_eq!(
        stepping.steps().await,
        ["1 in 1", "2 in 1", "3 in 2", "4 in 2"]
    );
    assert_eq!(stepping.run().await, ["epoch 2, \"4 of 4\", 4, t"]);
    stepping.world.end().await;
}

#[tokio::test]
async fn rule_8_a_zombie_worker_writes_nothing_after_the_take_over() {
    let stepping = Stepping::new().await;
    let (slow, quick) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(0)));
    let (zombie, other) = (stepping.process(&slow), stepping.process(&quick));
    let original = [titled("a")];
    let taken_over = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let copies = stepping.copies_after_the_lease().await;
        quick.add_permits(2);
        let half = tokio::time::timeout(Duration::from_millis(700), step(&other, &copies));
        let ((), half) = tokio::join!(
            async {
                tokio::time::sleep(Duration::from_millis(400)).await;
                // The first one wakes up in the middle of the second one's work.
                slow.add_permits(4);
            },
            half,
        );
        half.unwrap_err();
    };
    let (zombie, ()) = tokio::join!(step(&zombie, &original), taken_over);
    zombie.unwrap();
    assert_eq!(stepping.steps().await, ["1 in 1", "2 in 2", "3 in 2"]);
    // Nor does it settle the message, which the third process finishes.
    quick.add_permits(4);
    let copies = stepping.copies_after_the_lease().await;
    step(&other, &copies).await.unwrap();
    assert_eq!(
        stepping.steps().await,
        ["1 in 1", "2 in 2", "3 in 2", "4 in 3"]
    );
    stepping.world.end().await;
}

#[tokio::test]
async fn rule_8_a_heartbeat_keeps_the_lease_of_a_process_that_works() {
    let stepping = Stepping::new().await;
    let process = stepping.process(&stepping.may);
    let original = [titled("a")];
    let watched = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let pool = stepping.world.database.pool();
        pool.execute(
            "UPDATE nightshift.open_message SET due_at = now() + interval '4 seconds',
             rescue_at = now() + interval '4 seconds'",
        )
        .await
        .unwrap();
        tokio::time::sleep(Duration::from_secs(4)).await;
        let overdue = take_overdue(pool, start_of_time()).await;
        stepping.may.add_permits(4);
        overdue
    };
    let (run, overdue) = tokio::join!(step(&process, &original), watched);
    run.unwrap();
    assert_eq!(overdue, []);
    assert_eq!(stepping.run().await, ["epoch 1, \"4 of 4\", 4, t"]);
    stepping.world.end().await;
}

#[derive(Debug)]
struct Hasty;

impl LongFunction for Hasty {
    const NAME: &'static str = "hasty";
    const CONFIG: &'static str = Stepper::CONFIG;
    const POLICY: Policy = Stepper::POLICY;
    const LEASE: Duration = Duration::from_millis(2_500);
    type Input = NotificationRequested;

    async fn run(
        &self,
        _item: &Item<NotificationRequested>,
        _run: &Run,
        _cx: &Cx,
    ) -> Result<Outcome, JobError> {
        Ok(Outcome::Completed)
    }
}

#[tokio::test]
async fn rule_8_a_lease_that_cannot_be_renewed_in_time_is_refused() {
    let world = World::new(&[]).await;
    let error = world.restarted().with_long(Hasty).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the LEASE of hasty is 2.5s; it must be at least 3s, because it is renewed three times in that time and a busy database may need a second for each"
    );
    world.end().await;
}
