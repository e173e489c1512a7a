//! Transfers that come, and the messages they make up.

use bytes::{Bytes, BytesMut};

use super::link::{Link, LinkState};
use super::slots::Key;
use super::{Delivery, Engine, Event, LinkId, ProtocolError};
use crate::condition;
use crate::performative::{AmqpError, Role, Transfer};

/// A message that has come in part.
#[derive(Debug)]
pub(super) struct Partial {
    /// What is known of it; the payload is still empty.
    delivery: Delivery,
    octets: BytesMut,
}

impl Engine {
    pub(super) fn on_transfer(
        &mut self,
        session: Key,
        transfer: &Transfer,
        payload: Bytes,
    ) -> Result<(), ProtocolError> {
        if !self.count_transfer(session) {
            return Ok(());
        }
        let Some(key) = self.remote_link(session, transfer.handle, "transfer") else {
            return Ok(());
        };
        let Some(link) = self.links.get_mut(key) else {
            return Ok(());
        };
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
        match link.partial.take() {
            Some(mut partial) => match partial.go_on(transfer) {
                Ok(()) => self.collect(key, partial, transfer, &payload),
                Err(text) => {
                    link.partial = Some(partial);
                    self.fail_session(session, AmqpError::new(condition::INVALID_FIELD, text));
                    Ok(())
                }
            },
            None => match begin_delivery(key, link, transfer) {
                Ok(delivery) => self.begin(delivery, transfer, payload),
                Err(Fault::Link(error)) => {
                    self.fail_link(key, error);
                    Ok(())
                }
                Err(Fault::Session(text)) => {
                    self.fail_session(session, AmqpError::new(condition::INVALID_FIELD, text));
                    Ok(())
                }
            },
        }
    }

    /// Takes the first transfer of a delivery; most are the only one.
    fn begin(
        &mut self,
        mut delivery: Delivery,
        transfer: &Transfer,
        payload: Bytes,
    ) -> Result<(), ProtocolError> {
        if transfer.more || transfer.aborted {
            let partial = Box::new(Partial {
                delivery,
                octets: BytesMut::new(),
            });
            return self.collect(partial.delivery.link.0, partial, transfer, &payload);
        }
        if self.fits(delivery.link.0, payload.len()) {
            delivery.payload = payload;
            self.events.push_back(Event::Delivery(delivery));
        }
        Ok(())
    }

    /// Whether a message of `size` octets may come over a link; the link fails if not.
    fn fits(&mut self, key: Key, size: usize) -> bool {
        let Some(link) = self.links.get(key) else {
            return false;
        };
        let limit = link.max_message_size;
        if u64::try_from(size).unwrap_or(u64::MAX) <= limit {
            return true;
        }
        let text = format!("a message of at least {size} octets exceeds the limit of {limit}");
        self.fail_link(key, AmqpError::new(condition::MESSAGE_SIZE_EXCEEDED, text));
        false
    }

    /// Adds a transfer's octets to its message, and reports the message when it is complete.
    fn collect(
        &mut self,
        key: Key,
        mut partial: Box<Partial>,
        transfer: &Transfer,
        payload: &[u8],
    ) -> Result<(), ProtocolError> {
        self.partial_bytes -= partial.octets.len();
        if transfer.aborted || !self.fits(key, partial.octets.len() + payload.len()) {
            return Ok(());
        }
        partial.octets.extend_from_slice(payload);
        if !transfer.more {
            let Partial {
                mut delivery,
                octets,
            } = *partial;
            delivery.payload = octets.freeze();
            self.events.push_back(Event::Delivery(delivery));
            return Ok(());
        }
        self.partial_bytes += partial.octets.len();
        if let Some(link) = self.links.get_mut(key) {
            link.partial = Some(partial);
        }
        if self.partial_bytes > self.limits.max_partial_bytes {
            let limit = self.limits.max_partial_bytes;
            let what = "octets of half-received messages";
            return Err(ProtocolError::LimitExceeded { what, limit });
        }
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
fn begin_delivery(key: Key, link: &mut Link, transfer: &Transfer) -> Result<Delivery, Fault> {
    let missing = |field| {
        Fault::Session(format!(
            "the first transfer of a delivery lacks its {field}"
        ))
    };
    let delivery_id = transfer.delivery_id.ok_or_else(|| missing("delivery-id"))?;
    let tag = transfer
        .delivery_tag
        .ok_or_else(|| missing("delivery-tag"))?;
    if link.state != LinkState::Attached || !link.use_credit() {
        let text = "a delivery without credit";
        return Err(Fault::Link(AmqpError::new(
            condition::TRANSFER_LIMIT_EXCEEDED,
            text,
        )));
    }
    link.delivery_count = link.delivery_count.wrapping_add(1);
    Ok(Delivery {
        link: LinkId(key),
        delivery_id,
        tag,
        message_format: transfer.message_format.unwrap_or(0),
        settled: transfer.settled.unwrap_or(false),
        payload: Bytes::new(),
    })
}

impl Partial {
    /// A later transfer of a delivery: may name it again, and may settle it.
    fn go_on(&mut self, transfer: &Transfer) -> Result<(), String> {
        let expected = self.delivery.delivery_id;
        if let Some(begun) = transfer.delivery_id
            && begun != expected
        {
            return Err(format!(
                "delivery {begun} begins before delivery {expected} is complete"
            ));
        }
        self.delivery.settled |= transfer.settled.unwrap_or(false);
        Ok(())
    }
}
