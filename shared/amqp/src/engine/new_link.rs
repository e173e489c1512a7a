//! What we say when a link is attached: first, or in answer.

use crate::performative::{Attach, AttachTarget, ReceiverSettleMode, SenderSettleMode, Source};
use crate::value::{Map, Symbol};

/// A link that we attach.
#[derive(Clone, Debug)]
pub struct NewLink {
    /// Its name, unique between the two containers.
    pub name: String,
    /// Where messages come from.
    pub source: Source,
    /// Where messages go to.
    pub target: AttachTarget,
    /// How the sending end settles.
    pub snd_settle_mode: SenderSettleMode,
    /// How the receiving end settles.
    pub rcv_settle_mode: ReceiverSettleMode,
    /// For a receiver: the largest message taken, in octets; `None` for the engine's limit.
    pub max_message_size: Option<u64>,
    /// Extensions we would use.
    pub desired_capabilities: Option<Vec<Symbol>>,
    /// Link properties.
    pub properties: Option<Map>,
}

impl NewLink {
    /// A link that sends unsettled messages, or takes what comes, and settles in one step.
    pub fn new(name: impl Into<String>, source: Source, target: impl Into<AttachTarget>) -> Self {
        Self {
            name: name.into(),
            source,
            target: target.into(),
            snd_settle_mode: SenderSettleMode::Unsettled,
            rcv_settle_mode: ReceiverSettleMode::First,
            max_message_size: None,
            desired_capabilities: None,
            properties: None,
        }
    }
}

/// Our answer to a link that the peer attaches.
#[derive(Clone, Debug)]
pub struct AttachAnswer {
    /// Where messages come from.
    pub source: Option<Source>,
    /// Where messages go to.
    pub target: Option<AttachTarget>,
    /// How the sending end will settle.
    pub snd_settle_mode: SenderSettleMode,
    /// How the receiving end will settle.
    pub rcv_settle_mode: ReceiverSettleMode,
    /// Largest message we take, in octets; sent even when we are the sender, if set. `None` for
    /// the engine's limit (announced when we are the receiver).
    pub max_message_size: Option<u64>,
    /// Extensions we support.
    pub offered_capabilities: Option<Vec<Symbol>>,
    /// Link properties.
    pub properties: Option<Map>,
}

impl AttachAnswer {
    /// The answer that grants exactly what was asked for.
    pub fn granting(attach: &Attach) -> Self {
        Self {
            source: attach.source.clone(),
            target: attach.target.clone(),
            snd_settle_mode: attach.snd_settle_mode,
            rcv_settle_mode: attach.rcv_settle_mode,
            max_message_size: None,
            offered_capabilities: None,
            properties: None,
        }
    }
}
