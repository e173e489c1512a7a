//! What an engine reports.

use std::fmt;

use bytes::Bytes;

use super::slots::Key;
use crate::performative::{AmqpError, Attach, Disposition, Open};
use crate::sasl::PlainCredentials;
use crate::value::DeliveryTag;

/// Names a session of one engine. Never reused, so a stale one is recognised.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub(super) Key);

/// Names a link of one engine. Never reused, so a stale one is recognised.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub(super) Key);

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({})", self.0)
    }
}

impl fmt::Debug for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkId({})", self.0)
    }
}

/// Something that happened on the connection.
///
/// Drivers match all of it: an event that is overlooked costs credit, locks or memory.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A client authenticates by PLAIN; answer with
    /// [`answer_credentials`](super::Engine::answer_credentials). Nothing else is read before.
    PlainCredentials(PlainCredentials),
    /// The peer's open came. The connection stands.
    Opened(Box<Open>),
    /// A session stands: one that the peer began (and which has been answered), or one that we
    /// began and the peer has answered.
    SessionBegun {
        /// The session.
        session: SessionId,
        /// Whether the peer began it.
        by_peer: bool,
    },
    /// A session is gone. Its links were reported as detached before.
    SessionEnded {
        /// The session.
        session: SessionId,
        /// Why, unless regularly.
        error: Option<AmqpError>,
    },
    /// The peer attaches a link; answer with [`accept_link`](super::Engine::accept_link) or
    /// [`refuse_link`](super::Engine::refuse_link), now or later.
    LinkAttaching {
        /// The link's session.
        session: SessionId,
        /// The link.
        link: LinkId,
        /// What the peer said; `attach.role` is the peer's role.
        attach: Box<Attach>,
    },
    /// The peer accepted a link that we attached. A refusal comes as `LinkDetached` alone.
    LinkAttached {
        /// The link.
        link: LinkId,
        /// What the peer said.
        attach: Box<Attach>,
    },
    /// A link is gone, whoever detached it. Commands for it fail from here on.
    LinkDetached {
        /// The link.
        link: LinkId,
        /// Whether it ended for good.
        closed: bool,
        /// Why, unless regularly.
        error: Option<AmqpError>,
    },
    /// A link that we send on may be used (again).
    Credit {
        /// The link.
        link: LinkId,
        /// Deliveries that may be sent from now on.
        credit: u32,
        /// Whether the receiver wants them now or never: send what there is, then call
        /// [`drained`](super::Engine::drained).
        drain: bool,
    },
    /// The sender of a link that we drain has used up or given back its credit.
    Drained {
        /// The link.
        link: LinkId,
    },
    /// A message came, complete.
    Delivery(Delivery),
    /// A message came to its end that exceeds the link's limit. Its octets were dropped as they
    /// came and `delivery.payload` is empty; what to say to the sender is the application's choice.
    TooLarge {
        /// The message without its payload.
        delivery: Delivery,
        /// Its size in octets.
        size: u64,
        /// The link's limit in octets.
        limit: u64,
    },
    /// The sender gave up a message that had come in part. It has used one credit, and nothing of
    /// it is to be settled.
    Aborted {
        /// The link it came on.
        link: LinkId,
    },
    /// The peer told the state of deliveries, or settled them. The range may be of any size and
    /// may name deliveries that do not exist: look it up in an [`Unsettled`](super::Unsettled).
    Disposition {
        /// The session that the delivery-ids belong to.
        session: SessionId,
        /// What the peer said; `disposition.role` is the peer's role.
        disposition: Disposition,
    },
    /// The peer closed the connection, or answered our close. Nothing follows.
    Closed(Option<AmqpError>),
}

/// A message that came.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The link it came on.
    pub link: LinkId,
    /// Its number in the link's session, for dispositions.
    pub delivery_id: u32,
    /// Its tag.
    pub tag: DeliveryTag,
    /// 0 for one message, or another format.
    pub message_format: u32,
    /// Whether the sender has settled it: no disposition is due.
    pub settled: bool,
    /// The encoded message. When it came in one frame this shares the read buffer, which lives
    /// until every message in it is dropped; copy what is kept for long.
    pub payload: Bytes,
}
