//! What calls a function, and what it can be asked then.

use futures_util::future::BoxFuture;
use nightshift_bindings::function_json::ServiceBusTrigger;
use nightshift_job::{Policy, Refusal};

use crate::call::{Call, InvocationFailed};
use crate::drain::GivenUp;
use crate::http::Door;
use crate::ops::Places;
use crate::runner::Runner;
use crate::schedule::Timed;
use crate::shape::Shape;

/// Who calls a function.
pub(crate) enum Caller {
    /// Messages.
    Messages(Box<dyn Invocable>),
    /// The clock.
    Clock(Box<dyn Timed>),
    /// Whoever sends HTTP requests.
    Requests(Door),
}

/// Something that answers invocations.
pub(crate) trait Invocable: Send + Sync {
    fn invoke<'a>(
        &'a self,
        body: &'a [u8],
        call: &'a Call,
    ) -> BoxFuture<'a, Result<(), InvocationFailed>>;

    /// Where its messages come from.
    fn queue(&self) -> &str;

    /// How its messages come.
    fn trigger(&self) -> &ServiceBusTrigger;

    /// How they are run.
    fn policy(&self) -> &Policy;

    /// How many messages of one concurrency key are at work at a time.
    fn places(&self) -> Places;

    /// What would be said of a message with this body before it ran.
    fn decode(&self, body: &[u8]) -> Result<(), Refusal>;

    /// Takes back a message that the broker has given up.
    fn take_back(&self, given_up: GivenUp) -> BoxFuture<'_, Result<(), String>>;
}

impl<S: Shape> Invocable for Runner<S> {
    fn invoke<'a>(
        &'a self,
        body: &'a [u8],
        call: &'a Call,
    ) -> BoxFuture<'a, Result<(), InvocationFailed>> {
        Box::pin(Runner::invoke(self, body, call))
    }

    fn queue(&self) -> &str {
        Runner::queue(self)
    }

    fn trigger(&self) -> &ServiceBusTrigger {
        Runner::trigger(self)
    }

    fn policy(&self) -> &Policy {
        Runner::policy(self)
    }

    fn places(&self) -> Places {
        match S::CONCURRENCY_KEY {
            None => Places::NoKey,
            Some(_) if S::IS_IN_COMMIT => Places::InCommit,
            Some(_) => Places::Declared(S::POLICY.concurrency),
        }
    }

    fn decode(&self, body: &[u8]) -> Result<(), Refusal> {
        let max = S::POLICY.max_body_bytes;
        let decoded = nightshift_contract::decode::<S::Input>(body, max);
        decoded.map(drop).map_err(|error| Refusal {
            reason: error.reason(),
            description: error.to_string(),
        })
    }

    fn take_back(&self, given_up: GivenUp) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(Runner::take_back(self, given_up))
    }
}
