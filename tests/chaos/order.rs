//! What the messages of the chaos tests ask for.

use std::ops::RangeInclusive;
use std::time::Duration;

use nightshift_contract::Payload;
use nightshift_job::{Backoff, JobKey};
use serde::{Deserialize, Serialize};

/// The function.
pub(crate) const FUNCTION: &str = "chaos-work";

/// The queue that it listens to, as its `function.json` says.
pub(crate) const QUEUE: &str = "chaos";

/// The other queues: of calls, of runs, and all without sessions.
pub(crate) const CALLS: &str = "chaos-calls";
pub(crate) const RUNS: &str = "chaos-runs";
pub(crate) const QUEUES: &[&str] = &[QUEUE, CALLS, RUNS, "chaos-ticks"];

/// The queue with sessions, and how many of these there are.
pub(crate) const IN_SESSIONS: &str = "chaos-sessions";
pub(crate) const SESSIONS: usize = 4;

/// How long a call may take. Half a minute later one that was cut off is taken over.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(1);

/// How many steps a run has.
pub(crate) const STEPS: i32 = 4;

/// Why a message is dead that has refused its work.
pub(crate) const REFUSED: &str = "as-ordered";

/// Why a message is dead that is taken for what ends its processes: it was delivered three times or more,
/// and two have ended when they ran it by itself.
pub(crate) const KILLER: &str = "kills-the-process";

/// Pauses short enough for a test that waits them out.
pub(crate) const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(200),
    cap: Duration::from_secs(1),
};

/// The pause that [`Mishap::Busy`] asks for: the shortest that is granted.
pub(crate) const BUSY: Duration = Duration::from_secs(1);

/// How long a message that rests is put off, from its arrival.
pub(crate) const REST: Duration = Duration::from_millis(1_500);

/// One message: one effect, what is to go wrong before it, and another message that follows from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub(crate) schema_version: u32,
    /// The `MessageId`, too, of one that does not follow from another.
    pub(crate) id: String,
    /// What its first tries come to; the one after them succeeds.
    pub(crate) mishaps: Vec<Mishap>,
    /// Whether it is put off at first.
    pub(crate) rests: bool,
    /// Whether its commit is to promise another order.
    pub(crate) is_followed: bool,
}

/// How a try fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mishap {
    Error,
    Panic,
    /// With a pause that is asked for.
    Busy,
    /// For good.
    Refusal,
    /// With its process, which aborts.
    Abort,
    /// With its process, whose stack ends.
    Overflow,
    /// With its process, which gets no more memory.
    Hoard,
}

impl Mishap {
    /// Those that end the process.
    pub(crate) const KILLERS: [Self; 3] = [Self::Abort, Self::Overflow, Self::Hoard];
}

impl Payload for Order {
    const VERSIONS: RangeInclusive<u32> = 1..=1;
}

impl Order {
    /// The `n`-th order of the load `load`: 5 % fail at first, 5 % rest, 1 % die.
    pub(crate) fn nth(load: &str, n: usize) -> Self {
        let mishaps: &[Mishap] = match n % 100 {
            0 => &[Mishap::Error],
            20 => &[Mishap::Panic],
            40 => &[Mishap::Busy],
            60 => &[Mishap::Error, Mishap::Panic],
            80 => &[Mishap::Busy, Mishap::Error, Mishap::Error],
            50 => &[Mishap::Refusal],
            _ => &[],
        };
        Self {
            schema_version: 1,
            id: format!("{load}-{n:06}"),
            mishaps: mishaps.to_vec(),
            rests: n % 20 == 10 && mishaps.is_empty() || n % 100 == 60,
            is_followed: true,
        }
    }

    /// The `n`-th order of the load `load`, which ends its process by `mishap`, in every try.
    pub(crate) fn killer(load: &str, n: usize, mishap: Mishap) -> Self {
        Self {
            mishaps: vec![mishap],
            rests: false,
            ..Self::nth(load, n)
        }
    }

    /// The `n`-th call of the load `load`: 10 % are refused at first, and of as many the answer is lost.
    pub(crate) fn call(load: &str, n: usize) -> Self {
        let mishaps: &[Mishap] = match n % 10 {
            0 => &[Mishap::Error],
            5 => &[Mishap::Panic],
            _ => &[],
        };
        Self {
            mishaps: mishaps.to_vec(),
            ..Self::run(load, n)
        }
    }

    /// The `n`-th message in sessions of the load `load`, which take turns: one in seven fails at first, one
    /// in eleven twice.
    pub(crate) fn in_session(load: &str, n: usize) -> Self {
        let mishaps: &[Mishap] = match n {
            n if n.is_multiple_of(7) => &[Mishap::Error],
            n if n.is_multiple_of(11) => &[Mishap::Panic, Mishap::Error],
            _ => &[],
        };
        Self {
            mishaps: mishaps.to_vec(),
            ..Self::run(load, n)
        }
    }

    /// The `n`-th run of the load `load`.
    pub(crate) fn run(load: &str, n: usize) -> Self {
        Self {
            mishaps: Vec::new(),
            rests: false,
            is_followed: false,
            ..Self::nth(load, n)
        }
    }

    /// What its effect promises: an order that nothing befalls.
    pub(crate) fn follow_up(&self) -> Option<Self> {
        let is_followed = self.is_followed && self.death().is_none();
        is_followed.then(|| Self {
            id: format!("{}-next", self.id),
            mishaps: Vec::new(),
            rests: false,
            is_followed: false,
            ..*self
        })
    }

    /// The key of one that does not follow from another; the id of one that does is not known before.
    pub(crate) fn key(&self) -> JobKey {
        JobKey::of_message_id(FUNCTION, &self.id)
    }

    /// What the `attempt`-th try comes to, from 1. One that ends its process is not counted.
    pub(crate) fn mishap(&self, attempt: u32) -> Option<Mishap> {
        let index = usize::try_from(attempt.checked_sub(1)?).ok()?;
        self.mishaps.get(index).copied()
    }

    /// Whether it ends every process that runs it.
    pub(crate) fn kills(&self) -> bool {
        let mut mishaps = self.mishaps.iter();
        mishaps.any(|mishap| Mishap::KILLERS.contains(mishap))
    }

    /// The reason for which it is to become a dead letter.
    pub(crate) fn death(&self) -> Option<&'static str> {
        match () {
            () if self.kills() => Some(KILLER),
            () if self.mishaps.contains(&Mishap::Refusal) => Some(REFUSED),
            () => None,
        }
    }
}
