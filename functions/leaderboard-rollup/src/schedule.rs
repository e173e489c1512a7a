//! `leaderboard-rollup-schedule`: each minute, one message to the queue `leaderboard-rollup`.
//!
//! Nothing is caught up with: one count takes everything that is new.

use nightshift_contract::{LeaderboardRollupDue, RollupTask};
use nightshift_job::{ExternalFunction, Missed, Overlap, ScheduledFunction, Tick};

use crate::Work;

/// The function.
#[derive(Debug, Clone, Copy, Default)]
pub struct Schedule;

impl ScheduledFunction for Schedule {
    const NAME: &'static str = "leaderboard-rollup-schedule";
    const CONFIG: &'static str = include_str!("../schedule/function.json");
    const SCHEDULE: nightshift_job::Schedule = nightshift_job::Schedule {
        cron: "0 * * * * *",
        overlap: Overlap::Skip,
        missed: Missed::None,
        ..nightshift_job::Schedule::DEFAULT
    };
    const WORK: &'static str = Work::CONFIG;
    type Payload = <Work as ExternalFunction>::Input;

    fn payload(&self, tick: &Tick) -> LeaderboardRollupDue {
        LeaderboardRollupDue {
            schema_version: 1,
            due: tick.due,
            source: None,
            task: RollupTask::Count,
        }
    }
}

#[cfg(test)]
mod tests {
    use nightshift_contract::decode;
    use nightshift_job::TickKind;

    use super::*;

    #[test]
    fn the_work_reads_the_message_of_a_tick_and_the_sample() {
        let sample = include_bytes!("../work/sample.json");
        let sample: LeaderboardRollupDue = decode(sample, Work::POLICY.max_body_bytes).unwrap();
        let tick = Tick {
            due: sample.due,
            kind: TickKind::Scheduled,
        };
        let body = serde_json::to_vec(&Schedule.payload(&tick)).unwrap();
        let read = decode::<LeaderboardRollupDue>(&body, Work::POLICY.max_body_bytes);
        assert_eq!(read, Ok(sample));
    }
}
