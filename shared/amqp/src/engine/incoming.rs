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
    /// How many octets have come, once they are too many to be kept; else 0.
    dropped: u64,
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
        let key = delivery.link.0;
        if transfer.more || transfer.aborted || exceeds(payload.len(), self.size_limit(key)) {
            let partial = Box::new(Partial {
                delivery,
                octets: BytesMut::new(),
                dropped: 0,
            });
            return self.collect(key, partial, transfer, &payload);
        }
        delivery.payload = payload;
        self.events.push_back(Event::Delivery(delivery));
        Ok(())
    }

    /// How many octets a message may have that comes over a link.
    fn size_limit(&self, key: Key) -> u64 {
        self.links
            .get(key)
            .map_or(u64::MAX, |link| link.max_message_size)
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
        if transfer.aborted {
            let link = LinkId(key);
            self.events.push_back(Event::Aborted { link });
            return Ok(());
        }
        let limit = self.size_limit(key);
        partial.add(payload, limit);
        if !transfer.more {
            let Partial {
                mut delivery,
                octets,
                dropped,
            } = *partial;
            self.events.push_back(if dropped == 0 {
                delivery.payload = octets.freeze();
                Event::Delivery(delivery)
            } else {
                Event::TooLarge {
                    delivery,
                    size: dropped,
                    limit,
                }
            });
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

/// Whether a message of `size` octets exceeds `limit`.
fn exceeds(size: usize, limit: u64) -> bool {
    u64::try_from(size).unwrap_or(u64::MAX) > limit
}

impl Partial {
    /// Keeps a transfer's octets, or counts them when the message exceeds `limit`.
    fn add(&mut self, payload: &[u8], limit: u64) {
        let size = self.octets.len() + payload.len();
        if self.dropped == 0 && !exceeds(size, limit) {
            self.octets.extend_from_slice(payload);
            return;
        }
        let more = if self.dropped == 0 {
            size
        } else {
            payload.len()
        };
        self.dropped = self
            .dropped
            .saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
        self.octets = BytesMut::new();
    }

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
