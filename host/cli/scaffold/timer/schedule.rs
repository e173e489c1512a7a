//! `sample-job-schedule`: a message to the queue `sample-queue` for each tick.
//!
//! Of the ticks that were missed in a day only the last one is run.

use nightshift_contract::SampleJobDue;
use nightshift_job::{BatchFunction, Missed, Overlap, ScheduledFunction, Tick};

use crate::Work;

/// The function.
#[derive(Debug, Clone, Copy, Default)]
pub struct Schedule;

impl ScheduledFunction for Schedule {
    const NAME: &'static str = "sample-job-schedule";
    const CONFIG: &'static str = include_str!("../schedule/function.json");
    const SCHEDULE: nightshift_job::Schedule = nightshift_job::Schedule {
        cron: "0 0 3 * * *",
        zone: "UTC",
        overlap: Overlap::Skip,
        missed: Missed::Last,
        ..nightshift_job::Schedule::DEFAULT
    };
    const WORK: &'static str = Work::CONFIG;
    type Payload = <Work as BatchFunction>::Input;

    fn payload(&self, tick: &Tick) -> SampleJobDue {
        SampleJobDue {
            schema_version: 1,
            due: tick.due,
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
        let sample: SampleJobDue = decode(sample, Work::POLICY.max_body_bytes).unwrap();
        let tick = Tick {
            due: sample.due,
            kind: TickKind::Scheduled,
        };
        let body = serde_json::to_vec(&Schedule.payload(&tick)).unwrap();
        let read = decode::<SampleJobDue>(&body, Work::POLICY.max_body_bytes);
        assert_eq!(read, Ok(sample));
    }
}
