//! The node `<entity>/$management`: what can be done to an entity besides sending and receiving.
//!
//! Each operation is a request with an answer. The links to the node are opened with the first
//! request and again after they were lost. A request whose answer does not come fails; it is not
//! repeated here, since only the caller knows whether doing it twice is harmless.

mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use nightshift_amqp::{Map, Timestamp, Value};
use uuid::Uuid;

use crate::connection::{Command, LinkRole, LinkSpec};
use crate::error::BusError;
use crate::message::Message;
use crate::outcome::Outcome;
use crate::slot::{CurrentName, Slot};
use crate::supply::{OpenLink, Supply};
use words::Answer;

/// What stands for "no instant" where one is asked for: the end of the calendar, in milliseconds.
const NO_INSTANT: i64 = 253_402_300_800_000;

/// The management node of one entity or sub-queue.
pub(crate) struct Management {
    supply: Arc<Supply>,
    /// What permission is asked for.
    entity: String,
    /// The entity, sub-queue included; the node is below it.
    address: String,
    /// The link on whose behalf requests are made.
    owner: CurrentName,
    /// The session that requests are about.
    session: Option<Arc<str>>,
    /// The links to the node, with the address that answers come to.
    slot: Slot<String>,
    next_request: AtomicU64,
}

impl Management {
    pub(crate) fn new(
        supply: Arc<Supply>,
        entity: String,
        address: String,
        owner: CurrentName,
    ) -> Self {
        Self {
            supply,
            entity,
            address,
            owner,
            session: None,
            slot: Slot::empty(),
            next_request: AtomicU64::new(0),
        }
    }

    /// The same for one session of the entity.
    pub(crate) fn of_session(self, id: Arc<str>) -> Self {
        Self {
            session: Some(id),
            ..self
        }
    }

    /// Begins the locks anew and says when each ends now, in the order of `tokens`. One lock that
    /// is lost fails all.
    pub(crate) async fn renew_locks(
        &self,
        tokens: &[Uuid],
    ) -> Result<Vec<DateTime<Utc>>, BusError> {
        let mut body = Map::new();
        body.insert("lock-tokens", words::tokens(tokens));
        let answer = self.request("renew-lock", body).await?;
        let ends = answer.instants("expirations")?;
        answered_all(tokens.len(), ends)
    }

    /// Has the broker put encoded messages into the queue at the instants that they name. Returns
    /// their sequence numbers.
    pub(crate) async fn schedule(
        &self,
        messages: &[(Message, Bytes)],
    ) -> Result<Vec<i64>, BusError> {
        let open = self.open().await?;
        let body = words::scheduled(messages);
        let answer = self.exchange(&open, "schedule-message", body).await;
        let answer = answer.map_err(|error| match error {
            // Who knows whether the broker had it by then.
            BusError::ConnectionLost { .. }
            | BusError::Timeout { .. }
            | BusError::Detached { .. }
            | BusError::Closed { .. } => error.outcome_unknown(),
            refusal => refusal,
        })?;
        let numbers = answer.numbers("sequence-numbers")?;
        answered_all(messages.len(), numbers)
    }

    /// Takes scheduled messages back.
    pub(crate) async fn cancel_scheduled(&self, numbers: &[i64]) -> Result<(), BusError> {
        let mut body = Map::new();
        body.insert("sequence-numbers", words::numbers(numbers));
        self.request("cancel-scheduled-message", body)
            .await
            .map(drop)
    }

    /// Up to `max` messages from the sequence number on, encoded.
    pub(crate) async fn peek(&self, from: i64, max: i32) -> Result<Vec<Bytes>, BusError> {
        let mut body = Map::new();
        body.insert("from-sequence-number", from);
        body.insert("message-count", max);
        match self.request("peek-message", body).await {
            Ok(answer) if answer.is_empty => Ok(Vec::new()),
            Ok(answer) => answer.messages(),
            Err(BusError::MessageNotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Messages that were deferred, encoded, each with its lock token: locked if `locks`, else
    /// removed.
    pub(crate) async fn receive_deferred(
        &self,
        numbers: &[i64],
        locks: bool,
    ) -> Result<Vec<(Bytes, Uuid)>, BusError> {
        let mut body = Map::new();
        body.insert("sequence-numbers", words::numbers(numbers));
        body.insert("receiver-settle-mode", u32::from(locks));
        let answer = self.request("receive-by-sequence-number", body).await?;
        answer.locked_messages(locks)
    }

    /// Settles messages by their lock tokens. A release counts as an abandon here: the operation
    /// knows no other.
    pub(crate) async fn settle(&self, tokens: &[Uuid], outcome: &Outcome) -> Result<(), BusError> {
        let body = words::disposition(tokens, outcome);
        self.request("update-disposition", body).await.map(drop)
    }

    /// Begins the lock of the session anew and says when it ends now.
    pub(crate) async fn renew_session_lock(&self) -> Result<DateTime<Utc>, BusError> {
        let answer = self.request("renew-session-lock", Map::new()).await?;
        answer.instant("expiration")
    }

    /// What was last kept with the session.
    pub(crate) async fn session_state(&self) -> Result<Option<Bytes>, BusError> {
        let answer = self.request("get-session-state", Map::new()).await?;
        answer.octets("session-state")
    }

    /// Keeps something with the session; `None` removes it.
    pub(crate) async fn set_session_state(&self, state: Option<Bytes>) -> Result<(), BusError> {
        let mut body = Map::new();
        body.insert("session-state", state.map_or(Value::Null, Value::Binary));
        self.request("set-session-state", body).await.map(drop)
    }

    /// Up to `max` ids of sessions, after the first `skip`: those whose state was set after an
    /// instant, or those that have messages.
    pub(crate) async fn sessions(
        &self,
        updated_after: Option<DateTime<Utc>>,
        skip: i32,
        max: i32,
    ) -> Result<Vec<String>, BusError> {
        let mut body = Map::new();
        let millis = updated_after.map_or(NO_INSTANT, |instant| instant.timestamp_millis());
        body.insert("last-updated-time", Timestamp::from_millis(millis));
        body.insert("skip", skip);
        body.insert("top", max);
        match self.request("get-message-sessions", body).await? {
            answer if answer.is_empty => Ok(Vec::new()),
            answer => answer.texts("sessions-ids"),
        }
    }

    async fn request(&self, operation: &'static str, body: Map) -> Result<Answer, BusError> {
        let open = self.open().await?;
        self.exchange(&open, operation, body).await
    }

    /// The links to the node, opened now if need be.
    async fn open(&self) -> Result<Arc<OpenLink<String>>, BusError> {
        let node = format!("{}/$management", self.address);
        let opening = || {
            // An address that only these links know.
            let reply_to = format!("nightshift-{}", Uuid::new_v4().simple());
            let spec = LinkSpec {
                entity: self.address.clone(),
                address: node.clone(),
                role: LinkRole::Requests {
                    reply_to: reply_to.clone(),
                },
            };
            (spec, reply_to)
        };
        self.slot.get(&self.supply, &self.entity, opening).await
    }

    /// Sends one request and waits for its answer.
    async fn exchange(
        &self,
        open: &OpenLink<String>,
        operation: &'static str,
        mut body: Map,
    ) -> Result<Answer, BusError> {
        if let Some(session) = &self.session {
            body.insert("session-id", &**session);
        }
        let number = self.next_request.fetch_add(1, Ordering::Relaxed);
        let id = format!("management-{number}");
        let timeout = self.supply.options().try_timeout;
        let payload = words::request(words::Request {
            id: &id,
            reply_to: &open.with,
            operation,
            timeout,
            link: self.owner.get(),
            body,
        });
        let link = open.link.key();
        let answer = open
            .connection
            .ask("a management request", |reply| Command::Request {
                link,
                id,
                payload,
                reply,
            })
            .await??;
        words::read_answer(&self.address, operation, &answer)
    }

    /// Detaches the links, if they are open.
    pub(crate) async fn close(&self) {
        self.slot.close().await;
    }
}

/// What the broker answered about each of `count` things, in their order.
fn answered_all<T>(count: usize, answers: Vec<T>) -> Result<Vec<T>, BusError> {
    if answers.len() == count {
        return Ok(answers);
    }
    Err(BusError::Protocol(format!(
        "the broker was asked about {count} things and answered about {}",
        answers.len()
    )))
}

/// Reads an answer as every operation would. Says whether it is an answer at all.
#[cfg(test)]
pub(crate) fn read_every_field(answer: &Bytes) -> bool {
    let Ok(answer) = words::read_answer("q", "test", answer) else {
        return false;
    };
    // What is unusable is an error; that is all there is to see here.
    let _ = answer.instant("expiration");
    let _ = answer.instants("expirations");
    let _ = answer.numbers("sequence-numbers");
    let _ = answer.octets("session-state");
    let _ = answer.texts("sessions-ids");
    let _ = answer.messages();
    let _ = answer.locked_messages(true);
    true
}
