//! `leaderboard-rollup-verify`: each night, one message to the queue `leaderboard-rollup`.
//!
//! It asks for all sources to be counted once more, and compared with their scores.

use nightshift_contract::{LeaderboardRollupDue, RollupTask};
use nightshift_job::{ExternalFunction, Missed, Overlap, Schedule, ScheduledFunction, Tick};

use crate::Work;

/// The function.
#[derive(Debug, Clone, Copy, Default)]
pub struct Verify;

impl ScheduledFunction for Verify {
    const NAME: &'static str = "leaderboard-rollup-verify";
    const CONFIG: &'static str = include_str!("../verify/function.json");
    const SCHEDULE: Schedule = Schedule {
        // Before most people are awake, not when everybody else's nightly work begins, and between two counts.
        cron: "30 17 3 * * *",
        overlap: Overlap::Skip,
        missed: Missed::Last,
        ..Schedule::DEFAULT
    };
    const WORK: &'static str = Work::CONFIG;
    type Payload = <Work as ExternalFunction>::Input;

    fn payload(&self, tick: &Tick) -> LeaderboardRollupDue {
        LeaderboardRollupDue {
            schema_version: 1,
            due: tick.due,
            source: None,
            task: RollupTask::Verify,
        }
    }
}

#[cfg(test)]
mod tests {
    use nightshift_contract::decode;
    use nightshift_job::TickKind;

    use super::*;

    #[test]
    fn the_work_reads_the_message_of_a_tick_as_a_verification_of_all_sources() {
        let tick = Tick {
            due: "2026-11-22T03:17:30Z".parse().unwrap(),
            kind: TickKind::Scheduled,
        };
        let body = serde_json::to_vec(&Verify.payload(&tick)).unwrap();
        let read = decode::<LeaderboardRollupDue>(&body, Work::POLICY.max_body_bytes).unwrap();
        assert_eq!(
            (read.task, read.source, read.due),
            (RollupTask::Verify, None, tick.due)
        );
    }
}
