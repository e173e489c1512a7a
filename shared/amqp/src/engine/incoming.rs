//! Transfers that come, and the messages they make up.

use bytes::{Bytes, BytesMut};

use super::link::{Link, LinkState};
use super::slots::Key;
use super::{Delivery, Engine, Event, LinkId, ProtocolError};
use crate::condition;
use crate::performative::{AmqpError, Role, Transfer};
use crate::value::DeliveryTag;

/// A message that has come in part.
#[derive(Debug)]
pub(super) struct Partial {
    delivery_id: u32,
    tag: DeliveryTag,
    message_format: u32,
    settled: bool,
    octets: BytesMut,
}

impl Engine {
    pub(super) fn on_transfer(
        &mut self,
        session: Key,
        transfer: Transfer,
        payload: Bytes,
    ) -> Result<(), ProtocolError> {
        if !self.count_transfer(session) {
            return Ok(());
        }
        let Some(key) = self.remote_link(session, transfer.handle, "transfer") else {
            return Ok(());
        };
        let Some(link) = self.links.get_mut(key) else { return Ok(()) };
        match link.state {
            // The peer had not seen our detach when it sent this.
            LinkState::DetachSent { .. } | LinkState::DetachQueued => return Ok(()),
            _ if link.role == Role::Sender => {
                let text = "transfer on a link whose receiver sent it";
                self.fail_session(session, AmqpError::new(condition::NOT_ALLOWED, text));
                return Ok(());
            }
            _ => {}
        }
        let begun = match link.partial.take() {
            Some(partial) => continue_delivery(partial, &transfer),
            None => begin_delivery(link, &transfer),
        };
        match begun {
            Ok(partial) => self.collect(key, partial, &transfer, payload),
            Err(Fault::Link(error)) => {
                self.fail_link(key, error);
                Ok(())
            }
            Err(Fault::Session(text)) => {
                self.fail_session(session, AmqpError::new(condition::INVALID_FIELD, text));
                Ok(())
            }
        }
    }

    /// Adds a transfer's octets to its message, and reports the message when it is complete.
    fn collect(
        &mut self,
        key: Key,
        mut partial: Box<Partial>,
        transfer: &Transfer,
        payload: Bytes,
    ) -> Result<(), ProtocolError> {
        let held = partial.octets.len();
        if transfer.aborted {
            self.partial_bytes -= held;
            return Ok(());
        }
        let Some(link) = self.links.get_mut(key) else { return Ok(()) };
        let size = held + payload.len();
        if u64::try_from(size).unwrap_or(u64::MAX) > link.max_message_size {
            self.partial_bytes -= held;
            let text = format!(
                "a message of at least {size} octets exceeds the link's limit of {}",
                link.max_message_size
            );
            self.fail_link(key, AmqpError::new(condition::MESSAGE_SIZE_EXCEEDED, text));
            return Ok(());
        }
        if transfer.more {
            self.partial_bytes += payload.len();
            if self.partial_bytes > self.limits.max_partial_bytes {
                let limit = self.limits.max_partial_bytes;
                return Err(ProtocolError::LimitExceeded {
                    what: "octets of half-received messages",
                    limit,
                });
            }
            partial.octets.extend_from_slice(&payload);
            link.partial = Some(partial);
            return Ok(());
        }
        self.partial_bytes -= held;
        let Partial { delivery_id, tag, message_format, settled, mut octets } = *partial;
        let payload = if held == 0 {
            payload
        } else {
            octets.extend_from_slice(&payload);
            octets.freeze()
        };
        let link = LinkId(key);
        self.events.push_back(Event::Delivery(Delivery {
            link,
            delivery_id,
            tag,
            message_format,
            settled,
            payload,
        }));
        Ok(())
    }

    /// Drops a half-received message.
    pub(super) fn drop_partial(&mut self, key: Key) {
        if let Some(partial) = self.links.get_mut(key).and_then(|link| link.partial.take()) {
            self.partial_bytes -= partial.octets.len();
        }
    }
}

/// What a transfer's fault costs.
enum Fault {
    Link(AmqpError),
    Session(String),
}

/// The first transfer of a delivery: takes one of the link's credit.
fn begin_delivery(link: &mut Link, transfer: &Transfer) -> Result<Box<Partial>, Fault> {
    let missing = |field| Fault::Session(format!("the first transfer of a delivery lacks its {field}"));
    let delivery_id = transfer.delivery_id.ok_or_else(|| missing("delivery-id"))?;
    let tag = transfer.delivery_tag.ok_or_else(|| missing("delivery-tag"))?;
    if link.credit == 0 || link.state == LinkState::Answerable {
        let text = "a delivery without credit";
        return Err(Fault::Link(AmqpError::new(condition::TRANSFER_LIMIT_EXCEEDED, text)));
    }
    link.credit -= 1;
    link.delivery_count = link.delivery_count.wrapping_add(1);
    Ok(Box::new(Partial {
        delivery_id,
        tag,
        message_format: transfer.message_format.unwrap_or(0),
        settled: transfer.settled.unwrap_or(false),
        octets: BytesMut::new(),
    }))
}

/// A later transfer of a delivery: may name it again, and may settle it.
fn continue_delivery(
    mut partial: Box<Partial>,
    transfer: &Transfer,
) -> Result<Box<Partial>, Fault> {
    if let Some(delivery_id) = transfer.delivery_id
        && delivery_id != partial.delivery_id
    {
        return Err(Fault::Session(format!(
            "delivery {delivery_id} begins before delivery {} is complete",
            partial.delivery_id
        )));
    }
    partial.settled |= transfer.settled.unwrap_or(false);
    Ok(partial)
}
