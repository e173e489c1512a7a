//! `chaos-schedule` and `chaos-tick`: a tick every two seconds, each with an effect.

use std::time::Duration;

use nightshift_contract::HousekeepingDue;
use nightshift_job::{
    BatchFunction, Cx, Item, JobError, Missed, Outcome, Overlap, Policy, Schedule,
    ScheduledFunction, Tick,
};
use sqlx::PgConnection;

use super::order::BACKOFF;

/// The time between two ticks, in seconds, as the schedule says.
pub(super) const PERIOD: i64 = 2;

/// The scheduled function.
#[derive(Debug)]
pub struct Clock;

impl ScheduledFunction for Clock {
    const NAME: &'static str = "chaos-schedule";
    const CONFIG: &'static str = include_str!("app/functions/chaos/schedule/function.json");
    const SCHEDULE: Schedule = Schedule {
        cron: "*/2 * * * * *",
        overlap: Overlap::Allow,
        missed: Missed::All { max: 1_000 },
        catch_up: Duration::from_hours(1),
        ..Schedule::DEFAULT
    };
    const WORK: &'static str = Ticked::CONFIG;
    type Payload = HousekeepingDue;

    fn payload(&self, tick: &Tick) -> HousekeepingDue {
        HousekeepingDue {
            schema_version: 1,
            due: tick.due,
        }
    }
}

/// The work of its ticks.
#[derive(Debug)]
pub struct Ticked;

impl BatchFunction for Ticked {
    const NAME: &'static str = "chaos-tick";
    const CONFIG: &'static str = include_str!("app/functions/chaos/tick/function.json");
    const POLICY: Policy = Policy {
        backoff: BACKOFF,
        ..Policy::DEFAULT
    };
    type Input = HousekeepingDue;

    async fn run(
        &self,
        items: &[&Item<HousekeepingDue>],
        tx: &mut PgConnection,
        _cx: &Cx,
    ) -> Result<Vec<Outcome>, JobError> {
        let dues: Vec<_> = items.iter().map(|item| item.input.due).collect();
        sqlx::query("INSERT INTO chaos.ticked (due_at) SELECT * FROM unnest($1::timestamptz[])")
            .bind(dues)
            .execute(tx)
            .await?;
        Ok(vec![Outcome::Completed; items.len()])
    }
}
