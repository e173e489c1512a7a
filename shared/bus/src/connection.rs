//! The caller's side of a connection: commands go to the driver task, answers come back.
//!
//! One task per connection owns the socket and the protocol engine (`driver`). Everything else
//! holds a [`Connection`]: a channel to that task and the place where the task writes why it
//! ended. A call that waits for an answer which never comes, because the task is gone, reads the
//! reason there; the task writes it before it lets go of any answer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::error::BusError;
use crate::inbox::Inbox;
use crate::outcome::Outcome;
use crate::received_message::LinkKey;

/// What messages wait for that were not accepted in time.
pub(crate) const SENDING: &str = "sending";

/// How the driver answers one command.
pub(crate) type Reply<T> = oneshot::Sender<T>;

/// Numbers links across all connections of the process: a message names the link it came over,
/// and must not be taken for one that came over a later connection.
static NEXT_LINK: AtomicU64 = AtomicU64::new(0);

/// How long the owner of a link waits for the broker to confirm its end. The link is of no use to
/// it any more, so this is short.
const CLOSING_PATIENCE: Duration = Duration::from_secs(5);

/// What callers ask of the driver.
pub(crate) enum Command {
    /// Open a link.
    Attach {
        key: LinkKey,
        name: LinkName,
        spec: LinkSpec,
        reply: Reply<Result<Attached, BusError>>,
    },
    /// Transfer one encoded message (or batch) and answer with its outcome, within `try_timeout`.
    /// Nothing is sent when the caller has given up before the transfer starts.
    Send {
        link: LinkKey,
        transfer: Transfer,
        reply: Reply<Result<(), BusError>>,
    },
    /// Settle deliveries and answer with one result for each, in the order of `deliveries`.
    Settle {
        link: LinkKey,
        deliveries: Vec<u32>,
        outcome: Outcome,
        reply: Reply<Vec<Result<(), BusError>>>,
    },
    /// Bring the credit of a receiving link to what its inbox asks for.
    AdjustCredit { link: LinkKey },
    /// Send a request over a request link and answer with the message that correlates to it.
    Request {
        link: LinkKey,
        id: String,
        payload: Bytes,
        reply: Reply<Result<Bytes, BusError>>,
    },
    /// Give unreceived messages back, then detach. Answered when the broker has confirmed.
    Detach {
        link: LinkKey,
        reply: Option<Reply<()>>,
    },
    /// Detach every link, close the connection, end the task.
    Close { reply: Reply<()> },
}

/// An encoded message on its way out.
#[derive(Clone)]
pub(crate) struct Transfer {
    /// 0 for a message, 0x80013700 for a batch.
    pub(crate) format: u32,
    /// The encoded sections.
    pub(crate) payload: Bytes,
}

/// What a link is called between the two containers, and whether it still stands.
#[derive(Clone)]
pub(crate) struct LinkName {
    pub(crate) text: Arc<str>,
    /// Set when the link ends by anything but its owner's wish.
    pub(crate) lost: Arc<AtomicBool>,
}

/// Which link to open.
pub(crate) struct LinkSpec {
    /// What to call the entity in errors.
    pub(crate) entity: String,
    /// The address of source or target.
    pub(crate) address: String,
    /// Direction and settlement.
    pub(crate) role: LinkRole,
}

/// Direction and settlement of a link, from our side.
pub(crate) enum LinkRole {
    /// We send; each message is acknowledged.
    Sender,
    /// We receive into the inbox; `settled` means receive-and-delete.
    Receiver {
        inbox: Arc<Inbox>,
        settled: bool,
        /// Receive one session of the entity.
        session: Option<SessionFilter>,
    },
    /// A pair of links to one node: requests go out, the responses to the address `reply_to` are
    /// matched to them by correlation-id.
    Requests { reply_to: String },
}

/// Which session a receiver is to hold.
#[derive(Clone, Debug)]
pub(crate) enum SessionFilter {
    /// The one of this id, whether it has messages or not.
    Named(String),
    /// The next one that has messages and that nobody holds. The broker holds its answer back
    /// until there is one, for so long at most.
    Next(Duration),
}

impl LinkSpec {
    /// How much longer than usual the broker may take for its answer.
    fn patience(&self) -> Duration {
        match &self.role {
            LinkRole::Receiver {
                session: Some(SessionFilter::Next(wait)),
                ..
            } => *wait,
            _ => Duration::ZERO,
        }
    }
}

/// What the broker said when it opened a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attached {
    /// Largest message the link takes, in bytes.
    pub(crate) max_message_size: u64,
    /// Largest batch the link takes, in bytes.
    pub(crate) max_batch_size: u64,
    /// The session that the link holds now.
    pub(crate) session_id: Option<String>,
    /// When the session's lock ends, by the broker's clock.
    pub(crate) session_locked_until: Option<DateTime<Utc>>,
}

/// The way to the driver task. The task ends when the last of these is gone.
pub(crate) struct Connection {
    /// Distinguishes our link names from those of other connections.
    name: String,
    commands: mpsc::UnboundedSender<Command>,
    fate: Arc<OnceLock<BusError>>,
    try_timeout: Duration,
}

impl Connection {
    pub(crate) fn new(
        name: String,
        commands: mpsc::UnboundedSender<Command>,
        fate: Arc<OnceLock<BusError>>,
        try_timeout: Duration,
    ) -> Self {
        Self {
            name,
            commands,
            fate,
            try_timeout,
        }
    }

    /// Whether the task has ended or is about to.
    pub(crate) fn is_closed(&self) -> bool {
        self.fate.get().is_some() || self.commands.is_closed()
    }

    /// Why nothing answers any more.
    pub(crate) fn failure(&self) -> BusError {
        self.fate
            .get()
            .cloned()
            .unwrap_or_else(|| BusError::ConnectionLost {
                reason: "its task has ended".to_owned(),
                source: None,
            })
    }

    /// Closes the connection without waiting for it.
    pub(crate) fn end(&self) {
        let (reply, _) = oneshot::channel();
        self.post(Command::Close { reply });
    }

    /// Hands a command over without waiting for anything; an ended task ignores it.
    pub(crate) fn post(&self, command: Command) {
        // An ended task has no link left that the command could matter to.
        let _ = self.commands.send(command);
    }

    /// Hands a command over and waits for its answer, at most `try_timeout`.
    pub(crate) async fn ask<T>(
        &self,
        operation: &'static str,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, BusError> {
        let answer = self.start(command)?;
        self.answered(operation, self.deadline(), answer).await
    }

    /// Hands a command over at once and returns the place where its answer will come.
    pub(crate) fn start<T>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<oneshot::Receiver<T>, BusError> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(command(reply))
            .map_err(|_| self.failure())?;
        Ok(answer)
    }

    /// Until when an operation that starts now may wait.
    pub(crate) fn deadline(&self) -> Instant {
        instant_after(self.try_timeout)
    }

    /// Waits for an answer that the driver gives in time.
    pub(crate) async fn promised<T>(&self, answer: oneshot::Receiver<T>) -> Result<T, BusError> {
        answer.await.map_err(|_| self.failure())
    }

    /// Waits for an answer until `deadline`.
    pub(crate) async fn answered<T>(
        &self,
        operation: &'static str,
        deadline: Instant,
        answer: oneshot::Receiver<T>,
    ) -> Result<T, BusError> {
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) => Err(self.failure()),
            Err(_) => Err(BusError::Timeout {
                operation,
                after: self.try_timeout,
            }),
        }
    }

    /// Opens a link. Whatever happens to the caller meanwhile, the link is freed with the handle.
    pub(crate) async fn attach(
        self: &Arc<Self>,
        spec: LinkSpec,
    ) -> Result<(LinkHandle, Attached), BusError> {
        let key = LinkKey(NEXT_LINK.fetch_add(1, Ordering::Relaxed));
        let name = LinkName {
            text: Arc::from(format!("{}-{}", self.name, key.0)),
            lost: Arc::new(AtomicBool::new(false)),
        };
        let handle = LinkHandle {
            connection: Some(Arc::clone(self)),
            key,
            name: name.clone(),
        };
        let patience = self.try_timeout.saturating_add(spec.patience());
        let answer = self.start(|reply| Command::Attach {
            key,
            name,
            spec,
            reply,
        })?;
        let deadline = instant_after(patience);
        let answer = self.answered("opening a link", deadline, answer).await;
        let attached = answer.map_err(|error| match error {
            BusError::Timeout { operation, .. } => BusError::Timeout {
                operation,
                after: patience,
            },
            other => other,
        })??;
        Ok((handle, attached))
    }
}

/// The instant so long from now.
pub(crate) fn instant_after(span: Duration) -> Instant {
    instant_later(Instant::now(), span)
}

/// The instant so long after another; a span that no clock can add is as good as for ever.
pub(crate) fn instant_later(instant: Instant, span: Duration) -> Instant {
    const FOR_EVER: Duration = Duration::from_hours(24 * 365 * 30);
    let later = instant.checked_add(span);
    later.unwrap_or_else(|| instant + FOR_EVER)
}

/// Owns one link: dropping it detaches the link.
pub(crate) struct LinkHandle {
    /// `None` once detached.
    connection: Option<Arc<Connection>>,
    key: LinkKey,
    name: LinkName,
}

impl LinkName {
    /// Whether the link has ended by anything but its owner's wish.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }
}

impl LinkHandle {
    pub(crate) fn key(&self) -> LinkKey {
        self.key
    }

    pub(crate) fn name(&self) -> &LinkName {
        &self.name
    }

    /// Whether the link has ended, alone or with its connection, so that every call on it fails.
    pub(crate) fn is_lost(&self) -> bool {
        let connected = |connection: &Arc<Connection>| !connection.is_closed();
        self.name.is_lost() || !self.connection.as_ref().is_some_and(connected)
    }

    /// Detaches the link and waits, at most [`CLOSING_PATIENCE`], until the broker has confirmed.
    pub(crate) async fn detach(mut self) {
        if let Some(connection) = self.connection.take() {
            let link = self.key;
            let detached = connection.ask("closing a link", |reply| Command::Detach {
                link,
                reply: Some(reply),
            });
            // Without an answer the connection is gone or stuck, and the link with it.
            let _ = tokio::time::timeout(CLOSING_PATIENCE, detached).await;
        }
    }
}

impl Drop for LinkHandle {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.post(Command::Detach {
                link: self.key,
                reply: None,
            });
        }
    }
}
