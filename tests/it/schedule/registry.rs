//! What a handler refuses before it serves.

use nightshift_handler::RegistryError;
use nightshift_time::SystemClock;
use sqlx::postgres::PgPoolOptions;

use super::*;

/// A scheduled function that differs from [`Clocked`] in one thing.
macro_rules! variant {
    ($type:ident, $name:literal, $config:literal, $cron:literal, $zone:literal) => {
        #[derive(Debug)]
        struct $type;

        impl ScheduledFunction for $type {
            const NAME: &'static str = $name;
            const CONFIG: &'static str = $config;
            const SCHEDULE: Schedule = Schedule {
                cron: $cron,
                zone: $zone,
                ..HOURLY
            };
            const WORK: &'static str = Work::CONFIG;
            type Payload = HousekeepingDue;

            fn payload(&self, tick: &Tick) -> HousekeepingDue {
                payload(tick)
            }
        }
    };
}

variant!(
    Drifted,
    "drifted-schedule",
    r#"{"bindings": [{"type": "timerTrigger", "name": "t", "schedule": "0 30 7 * * *"}]}"#,
    "0 30 7 * * *",
    "Europe/Berlin"
);
variant!(
    Timeless,
    "timeless-schedule",
    r#"{"bindings": [{"type": "httpTrigger", "name": "t"}]}"#,
    "0 0 * * * *",
    "UTC"
);
variant!(
    Misspelt,
    "misspelt-schedule",
    r#"{"bindings": [{"type": "timerTrigger", "name": "t", "schedule": "0 0 * * * *"}]}"#,
    "0 0 * * * *",
    "Europe/Berlim"
);
variant!(
    Long,
    "a-name-that-leaves-no-room-for-the-names-of-its-ticks",
    r#"{"bindings": [{"type": "timerTrigger", "name": "t", "schedule": "0 0 * * * *"}]}"#,
    "0 0 * * * *",
    "UTC"
);

fn refusal<S: ScheduledFunction>(function: S) -> RegistryError {
    let pool = PgPoolOptions::new()
        .connect_lazy("postgres://nowhere.invalid")
        .unwrap();
    let clock = SystemClock::shared();
    let outbox = Outbox::left_to_others(pool.clone(), clock.clone());
    let registry = Registry::new(pool, outbox, clock);
    registry.with_schedule(function).unwrap_err()
}

#[tokio::test]
async fn a_timer_that_does_not_wake_when_its_schedule_asks_for_it_is_refused_with_what_to_write() {
    assert_eq!(
        refusal(Drifted).to_string(),
        r#"the function.json of drifted-schedule says "schedule": "0 30 7 * * *"; its SCHEDULE, in UTC, needs "schedule": "0 30 5-6 * * *""#
    );
}

#[tokio::test]
async fn a_scheduled_function_that_cannot_work_is_refused() {
    assert_eq!(
        refusal(Timeless).to_string(),
        "timeless-schedule runs by the clock, so its function.json needs a timerTrigger"
    );
    let misspelt = refusal(Misspelt).to_string();
    assert!(
        misspelt.contains("did you mean Europe/Berlin?"),
        "{misspelt}"
    );
    let long = refusal(Long).to_string();
    assert!(long.ends_with("at most 50 characters"), "{long}");
}
