//! What becomes of ticks while earlier ones have not ended.

use serde::{Deserialize, Serialize};

/// How many ticks may wait for an earlier one's end. What comes then is skipped.
const MOST_BUFFERED: u64 = 1000;

const OVERLAPS: &str = "the tick before has not ended";
const ONE_WAITS: &str = "the tick before has not ended, and another one waits for that already";
const TOO_MANY_WAIT: &str = "the tick before has not ended, and 1000 others wait for that already";

/// Why a tick is not run, or not to its end, whose place another one has taken.
pub const REPLACED: &str = "a later tick has taken its place";

/// What happens to a tick that is due while an earlier one of the function is not yet ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// It is skipped.
    Skip,
    /// It waits for the earlier one's end. While one waits already, it is skipped.
    BufferOne,
    /// It waits for the end of all earlier ones.
    BufferAll,
    /// It takes the earlier one's place: what has not begun, or waits for another try, is not run
    /// any more. A transaction that is under way at that moment is not torn out of its work.
    CancelRunning,
    /// It runs beside the earlier one.
    Allow,
}

/// How many ticks of a function have not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenTicks {
    /// Those that are in their queue, or worked on.
    pub enqueued: u64,
    /// Those that wait for an earlier one's end.
    pub buffered: u64,
}

impl OpenTicks {
    /// Whether there are none.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    /// Counts a tick of which `decision` was made.
    pub fn count(&mut self, decision: Decision) {
        match decision {
            Decision::Enqueue => self.enqueued += 1,
            Decision::Buffer => self.buffered += 1,
            Decision::Skip(_) => {}
        }
    }
}

/// What is decided of a tick that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It goes to its queue.
    Enqueue,
    /// It waits for an earlier one's end.
    Buffer,
    /// It is not run, for the reason given.
    Skip(&'static str),
}

impl Overlap {
    /// What is decided of `ticks` ticks that are looked at together, in order, while `open` others have
    /// not ended.
    pub fn decide(self, ticks: usize, mut open: OpenTicks) -> Vec<Decision> {
        let decide = |index| {
            let decision = match self {
                Self::CancelRunning if index + 1 < ticks => Decision::Skip(REPLACED),
                Self::CancelRunning | Self::Allow => Decision::Enqueue,
                _ if open.is_none() => Decision::Enqueue,
                Self::Skip => Decision::Skip(OVERLAPS),
                Self::BufferOne if open.buffered > 0 => Decision::Skip(ONE_WAITS),
                Self::BufferAll if open.buffered >= MOST_BUFFERED => Decision::Skip(TOO_MANY_WAIT),
                Self::BufferOne | Self::BufferAll => Decision::Buffer,
            };
            open.count(decision);
            decision
        };
        (0..ticks).map(decide).collect()
    }
}
