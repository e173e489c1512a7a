//! Why a list of functions is none.

use std::path::PathBuf;
use std::time::Duration;

use nightshift_bindings::problem::ConfigProblems;
use nightshift_bindings::route::RouteError;
use nightshift_job::{BadRateLimit, BadSchedule, MAX_NAME_LENGTH};

use super::SHORTEST_LEASE;
use crate::settings::CONNECTION;

/// Why a function cannot be registered, or the app on disk is not the one that is compiled in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The embedded `function.json` is malformed.
    #[error("the function.json compiled into {name} is malformed: {problems}")]
    Config {
        /// The function.
        name: &'static str,
        /// What is wrong with it.
        #[source]
        problems: ConfigProblems,
    },
    /// The embedded `function.json` has no trigger by which this shape of function can be called.
    #[error(
        "{0} takes Service Bus messages, so its function.json needs a serviceBusTrigger of a queue by its plain name, with \"dataType\": \"binary\" and the connection {CONNECTION}"
    )]
    Trigger(&'static str),
    /// The schedule of a function cannot be read.
    #[error("the schedule of {name}: {source}")]
    Schedule {
        /// The function.
        name: &'static str,
        /// What is wrong with it.
        #[source]
        source: BadSchedule,
    },
    /// The embedded `function.json` of a scheduled function has no timer.
    #[error("{0} runs by the clock, so its function.json needs a timerTrigger")]
    TimerTrigger(&'static str),
    /// The timer of a scheduled function does not wake it when its schedule asks for that.
    #[error(
        "the function.json of {name} says \"schedule\": {found:?}; its SCHEDULE, in UTC, needs \"schedule\": {wake_up:?}"
    )]
    WakeUp {
        /// The function.
        name: &'static str,
        /// What stands there.
        found: String,
        /// What has to stand there.
        wake_up: String,
    },
    /// The name of a scheduled function leaves no room for the names of its ticks.
    #[error(
        "{0} is too long for the name of a scheduled function, at most {MAX_NAME_LENGTH} characters"
    )]
    LongName(&'static str),
    /// The rate limit of a function is none.
    #[error("the rate limit {limit:?} of {name}: {source}")]
    RateLimit {
        /// The function.
        name: &'static str,
        /// The limit.
        limit: &'static str,
        /// What is wrong with it.
        #[source]
        source: BadRateLimit,
    },
    /// Two functions name one rate limit and mean different ones.
    #[error(
        "{one} and {other} both name the rate limit {limit:?} and say different things of it; put it into one constant"
    )]
    RateLimitsDiffer {
        /// The limit.
        limit: &'static str,
        /// A function.
        one: &'static str,
        /// Another function.
        other: &'static str,
    },
    /// The places of a function's concurrency keys are not as many as it can keep to.
    #[error(
        "{name} says that {found} messages of one concurrency key may be at work at a time; it must be {}", if *is_in_commit { "1, because its work is done in one transaction" } else { "at least 1" }
    )]
    Concurrency {
        /// The function.
        name: &'static str,
        /// How many it says.
        found: u32,
        /// Whether all that it does is done in the transaction of the claim.
        is_in_commit: bool,
    },
    /// The embedded `function.json` of an HTTP function has no HTTP trigger, or one that the host would not
    /// forward.
    #[error(
        "{0} answers HTTP requests as they are, so its function.json needs exactly two bindings, an httpTrigger and an http output"
    )]
    HttpTrigger(&'static str),
    /// The route of an HTTP function cannot be read.
    #[error("the route of {name}: {source}")]
    Route {
        /// The function.
        name: &'static str,
        /// What is wrong with it.
        #[source]
        source: RouteError,
    },
    /// The lease of a long function is too short to be renewed in time.
    #[error(
        "the LEASE of {name} is {found:?}; it must be at least {SHORTEST_LEASE:?}, because it is renewed three times in that time and a busy database may need a second for each"
    )]
    Lease {
        /// The function.
        name: &'static str,
        /// How long it says.
        found: Duration,
    },
    /// Two functions have one name.
    #[error("there are two functions named {0}")]
    Twice(&'static str),
    /// A folder on disk holds a function that this binary does not know.
    #[error("{} is not a function of this binary; it knows {known}", folder.display())]
    Unknown {
        /// The folder.
        folder: PathBuf,
        /// The names that are known.
        known: String,
    },
    /// A `function.json` on disk differs from the one compiled in.
    #[error("{} differs from the one this binary was built with; deploy both together", .0.display())]
    Differs(PathBuf),
    /// The app's folder cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}
