//! Messages under a load of deaths: is each effect there once, whoever dies where?
//!
//! A [`Run`] is a durable broker, a durable Postgres, hosts with the handler `chaos-handler`, and a load
//! of messages of which some fail, panic, rest and die as they were ordered to; beside them go
//! messages in sessions, calls of another system, runs in steps, and ticks of a clock. [`Run::strike`] stops a
//! process at a [`CrashPoint`] and kills somebody there; [`Run::kill_at_random`] does not wait for a good
//! moment. [`Run::settle`] waits until nothing moves any more and compares what was ordered with what
//! there is.
//!
//! [`CrashPoint`]: nightshift_crashpoint::CrashPoint

mod call;
mod checker;
mod clock;
mod evidence;
mod function;
mod load;
mod long;
mod order;
mod run;
mod session;
mod victim;

pub use call::Call;
pub use checker::{Fault, Report};
pub use clock::{Clock, Ticked};
pub use function::{TRIES, Work};
pub use long::Long;
pub use order::Order;
pub use run::{Run, start_postgres};
pub use session::InSession;
pub use victim::Victim;
