//! Which links a client may attach, and what is said to those it may not.

use std::{collections::VecDeque, sync::Arc};

use nightshift_amqp::{
    condition,
    engine::{AttachAnswer, LinkId, SessionId},
    performative::{AmqpError, Attach, AttachTarget, Role, SenderSettleMode},
};

use super::{
    accepting::{Wanted, wanted},
    inbox,
    link::{Link, Node, ReceiverLink, RequestLink, ResponseLink, SenderLink},
    state::Connection,
};
use crate::{
    QueueStatus,
    address::{Address, EntityAddress},
    entity::Entity,
    queue::SubQueue,
};

/// The longest address of a queue or of a client's own end, in bytes. A link keeps its addresses.
const MAX_ADDRESS: usize = 1_024;

/// What a client is given for its attach.
enum Granted {
    Link(Link),
    /// A session of a queue, which may have to be waited for.
    Session(Arc<Entity>, Wanted),
}

impl Connection {
    pub(super) fn on_attach(&mut self, session: SessionId, id: LinkId, attach: &Attach) {
        let granted = check_addresses(attach).and_then(|()| match attach.role {
            Role::Sender => self.client_sender(session, attach),
            Role::Receiver => self.client_receiver(session, id, attach),
        });
        match granted {
            Ok(Granted::Link(link)) => self.grant(id, attach, link),
            Ok(Granted::Session(queue, wanted)) => {
                self.accept_session(session, id, attach, queue, &wanted);
            }
            Err(error) => self.refuse(id, error),
        }
    }

    pub(super) fn refuse(&mut self, id: LinkId, error: AmqpError) {
        tracing::debug!(connection.id = self.id, error = %error, "link refused");
        self.tell(|engine| engine.refuse_link(id, error));
    }

    fn grant(&mut self, id: LinkId, attach: &Attach, link: Link) {
        if matches!(link, Link::Sender(_) | Link::Requests(_)) {
            let answer = AttachAnswer {
                max_message_size: Some(self.shared.config.max_message_size),
                ..AttachAnswer::granting(attach)
            };
            self.remember_link(id, link);
            self.tell(|engine| engine.accept_link(id, answer));
            self.tell(|engine| engine.set_credit(id, inbox::CREDIT));
        } else {
            let answer = receiver_answer(attach);
            self.remember_link(id, link);
            self.tell(|engine| engine.accept_link(id, answer));
        }
    }

    fn client_sender(&mut self, session: SessionId, attach: &Attach) -> Result<Granted, AmqpError> {
        if let Some(AttachTarget::Coordinator(_)) = attach.target {
            let text = "transactions are not supported";
            return Err(AmqpError::new(condition::NOT_IMPLEMENTED, text));
        }
        let link = match address(attach.target_address())? {
            Address::Cbs => Link::Requests(RequestLink {
                session,
                node: Node::Cbs,
            }),
            Address::Management(address) => {
                self.managed_entity(&address)?;
                let node = Node::Management(address);
                Link::Requests(RequestLink { session, node })
            }
            Address::Entity(address) if address.sub_queue == SubQueue::DeadLetter => {
                let text = "messages cannot be sent to a dead-letter queue";
                return Err(AmqpError::new(condition::NOT_ALLOWED, text));
            }
            Address::Entity(address) => {
                let entity = self.entity(&address)?;
                enabled(&entity, QueueStatus::takes_messages)?;
                let entity = self.index_of(&entity);
                Link::Sender(SenderLink { session, entity })
            }
        };
        Ok(Granted::Link(link))
    }

    fn client_receiver(
        &mut self,
        session: SessionId,
        id: LinkId,
        attach: &Attach,
    ) -> Result<Granted, AmqpError> {
        let node = match address(attach.source_address())? {
            Address::Cbs => Node::Cbs,
            Address::Management(address) => {
                self.managed_entity(&address)?;
                Node::Management(address)
            }
            Address::Entity(address) => {
                let entity = self.entity(&address)?;
                enabled(&entity, QueueStatus::gives_messages)?;
                let sub_queue = address.sub_queue;
                if entity.forwards() && sub_queue == SubQueue::Active {
                    let text = "an entity that forwards its messages cannot have a receiver";
                    return Err(not_allowed(text));
                }
                let has_sessions = entity.requires_session && sub_queue == SubQueue::Active;
                return match (wanted(attach.source.as_ref())?, has_sessions) {
                    (Some(wanted), true) => Ok(Granted::Session(entity, wanted)),
                    (None, false) => {
                        let number = self.outbox.number(id);
                        let link = self.receiver_link(session, number, attach, entity, sub_queue);
                        Ok(Granted::Link(Link::Receiver(link)))
                    }
                    (None, true) => Err(not_allowed(
                        "an entity that requires sessions cannot have a non-sessionful receiver",
                    )),
                    (Some(_), false) => Err(not_allowed(
                        "an entity that does not require sessions, or a dead-letter queue, \
                         cannot have a sessionful receiver",
                    )),
                };
            }
        };
        Ok(Granted::Link(Link::Responses(ResponseLink {
            session,
            node,
            name: attach.name.clone(),
            reply_to: attach.target_address().map(str::to_owned),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            last_tag: 0,
        })))
    }

    /// A receiver of what is in no session.
    pub(super) fn receiver_link(
        &mut self,
        session: SessionId,
        number: u64,
        attach: &Attach,
        queue: Arc<Entity>,
        sub_queue: SubQueue,
    ) -> ReceiverLink {
        ReceiverLink {
            session,
            number,
            entity: self.index_of(&queue),
            queue,
            sub_queue,
            owned: None,
            settles_on_send: attach.snd_settle_mode == SenderSettleMode::Settled,
            ticket: None,
            drain: false,
            due: false,
        }
    }

    /// The queue at an address, if it exists and the client may use it.
    fn entity(&self, address: &EntityAddress) -> Result<Arc<Entity>, AmqpError> {
        let path = &address.path;
        if !self.grants.cover(path, self.shared.clock.now()) {
            let text = format!("no valid token for {path:?} was set on this connection");
            return Err(AmqpError::new(condition::UNAUTHORIZED_ACCESS, text));
        }
        self.shared.namespace.get(path).cloned().ok_or_else(|| {
            let text = format!("the messaging entity {path:?} could not be found");
            AmqpError::new(condition::NOT_FOUND, text)
        })
    }

    /// The same for links to its management node.
    fn managed_entity(&self, address: &EntityAddress) -> Result<(), AmqpError> {
        let entity = self.entity(address)?;
        enabled(&entity, |status| status != QueueStatus::Disabled)
    }

    /// Where a queue is in the connection's list of entities.
    fn index_of(&mut self, entity: &Arc<Entity>) -> usize {
        let known = self
            .entities
            .iter()
            .position(|known| Arc::ptr_eq(known, entity));
        known.unwrap_or_else(|| {
            self.entities.push(Arc::clone(entity));
            self.entities.len() - 1
        })
    }
}

fn check_addresses(attach: &Attach) -> Result<(), AmqpError> {
    let addresses = [
        ("source", attach.source_address()),
        ("target", attach.target_address()),
    ];
    for (end, address) in addresses {
        let length = address.map_or(0, str::len);
        if length > MAX_ADDRESS {
            let text = format!(
                "the address of the {end} has {length} bytes; at most {MAX_ADDRESS} are allowed"
            );
            return Err(AmqpError::new(condition::ARGUMENT_OUT_OF_RANGE, text));
        }
    }
    Ok(())
}

fn address(text: Option<&str>) -> Result<Address, AmqpError> {
    let text = text.ok_or_else(|| {
        let text = "a link needs the address of a queue";
        AmqpError::new(condition::INVALID_FIELD, text)
    })?;
    Ok(Address::parse(text))
}

/// The answer to a receiver that gets what it asks for.
pub(super) fn receiver_answer(attach: &Attach) -> AttachAnswer {
    let mut answer = AttachAnswer::granting(attach);
    if answer.snd_settle_mode == SenderSettleMode::Mixed {
        // Peek-locked messages are sent unsettled, all of them.
        answer.snd_settle_mode = SenderSettleMode::Unsettled;
    }
    answer
}

/// Refuses what the status of a queue does not allow.
fn enabled(entity: &Entity, is_allowed: fn(QueueStatus) -> bool) -> Result<(), AmqpError> {
    if is_allowed(entity.status) {
        return Ok(());
    }
    let text = format!("the entity {:?} is disabled for this", entity.name);
    Err(AmqpError::new(condition::ENTITY_DISABLED, text))
}

fn not_allowed(text: &str) -> AmqpError {
    AmqpError::new(condition::NOT_ALLOWED, text)
}
