//! Which links a client may attach, and what is said to those it may not.

use std::{collections::VecDeque, sync::Arc};

use nightshift_amqp::{
    condition,
    engine::{AttachAnswer, LinkId, SessionId},
    performative::{AmqpError, Attach, AttachTarget, Role, SenderSettleMode, Source},
};

use super::{
    inbox,
    link::{Link, Node, ReceiverLink, RequestLink, ResponseLink, SenderLink},
    state::Connection,
};
use crate::{
    address::{Address, EntityAddress},
    entity::Entity,
    queue::SubQueue,
};

/// The filter by which a receiver asks for a session of a queue.
const SESSION_FILTER: &str = "com.microsoft:session-filter";

impl Connection {
    pub(super) fn on_attach(&mut self, session: SessionId, id: LinkId, attach: &Attach) {
        let link = match attach.role {
            Role::Sender => self.client_sender(session, attach),
            Role::Receiver => self.client_receiver(session, id, attach),
        };
        match link {
            Ok(link) => self.accept(id, attach, link),
            Err(error) => {
                tracing::debug!(connection.id = self.id, error = %error, "link refused");
                self.tell(|engine| engine.refuse_link(id, error));
            }
        }
    }

    fn accept(&mut self, id: LinkId, attach: &Attach, link: Link) {
        let mut answer = AttachAnswer::granting(attach);
        let takes_messages = matches!(link, Link::Sender(_) | Link::Requests(_));
        if takes_messages {
            answer.max_message_size = Some(self.shared.config.max_message_size);
        } else if answer.snd_settle_mode == SenderSettleMode::Mixed {
            // Peek-locked messages are sent unsettled, all of them.
            answer.snd_settle_mode = SenderSettleMode::Unsettled;
        }
        self.remember_link(id, link);
        self.tell(|engine| engine.accept_link(id, answer));
        if takes_messages {
            self.tell(|engine| engine.set_credit(id, inbox::CREDIT));
        }
    }

    fn client_sender(&mut self, session: SessionId, attach: &Attach) -> Result<Link, AmqpError> {
        if let Some(AttachTarget::Coordinator(_)) = attach.target {
            let text = "transactions are not supported";
            return Err(AmqpError::new(condition::NOT_IMPLEMENTED, text));
        }
        match address(attach.target_address())? {
            Address::Cbs => Ok(Link::Requests(RequestLink {
                session,
                node: Node::Cbs,
            })),
            Address::Management(address) => {
                self.entity(&address)?;
                let node = Node::Management(address);
                Ok(Link::Requests(RequestLink { session, node }))
            }
            Address::Entity(address) if address.sub_queue == SubQueue::DeadLetter => {
                let text = "messages cannot be sent to a dead-letter queue";
                Err(AmqpError::new(condition::NOT_ALLOWED, text))
            }
            Address::Entity(address) => {
                let entity = self.entity(&address)?;
                let entity = self.index_of(&entity);
                Ok(Link::Sender(SenderLink { session, entity }))
            }
        }
    }

    fn client_receiver(
        &mut self,
        session: SessionId,
        id: LinkId,
        attach: &Attach,
    ) -> Result<Link, AmqpError> {
        let node = match address(attach.source_address())? {
            Address::Cbs => Node::Cbs,
            Address::Management(address) => {
                self.entity(&address)?;
                Node::Management(address)
            }
            Address::Entity(address) => {
                let entity = self.entity(&address)?;
                refuse_sessions(attach.source.as_ref())?;
                return Ok(Link::Receiver(ReceiverLink {
                    session,
                    number: self.outbox.number(id),
                    entity: self.index_of(&entity),
                    queue: entity,
                    sub_queue: address.sub_queue,
                    settles_on_send: attach.snd_settle_mode == SenderSettleMode::Settled,
                    ticket: None,
                    drain: false,
                    due: false,
                }));
            }
        };
        Ok(Link::Responses(ResponseLink {
            session,
            node,
            name: attach.name.clone(),
            reply_to: attach.target_address().map(str::to_owned),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            last_tag: 0,
        }))
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

fn address(text: Option<&str>) -> Result<Address, AmqpError> {
    let text = text.ok_or_else(|| {
        let text = "a link needs the address of a queue";
        AmqpError::new(condition::INVALID_FIELD, text)
    })?;
    Ok(Address::parse(text))
}

fn refuse_sessions(source: Option<&Source>) -> Result<(), AmqpError> {
    let filter = source.and_then(|source| source.filter.as_ref());
    if filter.is_some_and(|filter| filter.get(SESSION_FILTER).is_some()) {
        let text = "a queue that does not require sessions has no sessionful receivers";
        return Err(AmqpError::new(condition::NOT_ALLOWED, text));
    }
    Ok(())
}
