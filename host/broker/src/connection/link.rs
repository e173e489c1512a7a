//! The links of a connection, by what they are for.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use nightshift_amqp::{engine::SessionId, performative::Attach};
use tokio::time::Instant;

use crate::{
    address::EntityAddress,
    entity::Entity,
    queue::{SessionLock, SubQueue, Ticket},
};

/// A link that a client attached.
#[derive(Debug)]
pub(super) enum Link {
    /// The client sends messages to a queue.
    Sender(SenderLink),
    /// The client receives messages from a queue.
    Receiver(ReceiverLink),
    /// The client waits for a session to receive from; its attach is not answered yet.
    Accepting(AcceptingLink),
    /// The client sends requests to a node.
    Requests(RequestLink),
    /// The client receives the answers of a node.
    Responses(ResponseLink),
}

#[derive(Debug)]
pub(super) struct SenderLink {
    pub(super) session: SessionId,
    /// Where the queue is in the connection's list of entities.
    pub(super) entity: usize,
}

#[derive(Debug)]
pub(super) struct ReceiverLink {
    pub(super) session: SessionId,
    /// The link's number at the doorbell.
    pub(super) number: u64,
    pub(super) entity: usize,
    pub(super) queue: Arc<Entity>,
    pub(super) sub_queue: SubQueue,
    /// The session that it owns, in a queue that requires sessions.
    pub(super) owned: Option<SessionLock>,
    /// Whether messages are gone once they are sent.
    pub(super) settles_on_send: bool,
    /// The place in the queue's line, while there is nothing to receive.
    pub(super) ticket: Option<Ticket>,
    /// The client wants what there is now, and the rest of its credit back.
    pub(super) drain: bool,
    /// Whether it is in the outbox's list of receivers to look at.
    pub(super) due: bool,
}

#[derive(Debug)]
pub(super) struct AcceptingLink {
    pub(super) session: SessionId,
    /// The link's number at the doorbell.
    pub(super) number: u64,
    pub(super) queue: Arc<Entity>,
    /// What is to be answered: no more of the client's attach than that takes.
    pub(super) attach: Box<Attach>,
    /// When it has waited long enough.
    pub(super) until: Instant,
    /// The place in the queue's line.
    pub(super) ticket: Option<Ticket>,
}

#[derive(Debug)]
pub(super) struct RequestLink {
    pub(super) session: SessionId,
    pub(super) node: Node,
}

#[derive(Debug)]
pub(super) struct ResponseLink {
    pub(super) session: SessionId,
    pub(super) node: Node,
    pub(super) name: String,
    /// The address that the client gave its own end.
    pub(super) reply_to: Option<String>,
    /// Answers for which there was no credit or no room in the output yet.
    pub(super) waiting: VecDeque<Bytes>,
    /// The sum of their sizes.
    pub(super) waiting_bytes: usize,
    pub(super) last_tag: u32,
}

/// A node that answers requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Cbs,
    Management(EntityAddress),
}
