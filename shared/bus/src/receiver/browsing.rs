//! Messages that the management node hands out: those that are only looked at, and those that were
//! put aside.

use bytes::Bytes;
use nightshift_amqp::DeliveryTag;
use uuid::Uuid;

use super::{ReceiveMode, Receiver};
use crate::decode;
use crate::error::BusError;
use crate::inbox::Delivery;
use crate::received_message::{DeliveryKey, ReceivedMessage, ReceiverKey, Via};

impl Receiver {
    /// Looks at up to `max` messages without locking them: those whose sequence number is
    /// `from_sequence_number` or higher, in the order of the numbers, deferred and scheduled ones
    /// included. The broker may return fewer; none means that there are no more. Go on from the
    /// last number plus one. They cannot be settled. What is no AMQP message is left out.
    pub async fn peek_messages(
        &self,
        from_sequence_number: i64,
        max: usize,
    ) -> Result<Vec<ReceivedMessage>, BusError> {
        let max = i32::try_from(max).unwrap_or(i32::MAX);
        if max == 0 {
            return Ok(Vec::new());
        }
        self.check_session()?;
        let encoded = self.management.peek(from_sequence_number, max).await?;
        let encoded = encoded.into_iter().map(|payload| (payload, Uuid::nil()));
        Ok(self.decode_all(Via::Peeked, encoded))
    }

    /// Receives deferred messages, in the receiver's mode. One that is not there fails all, with
    /// [`BusError::MessageNotFound`]. They are settled like others, with a request for each; one
    /// that is abandoned stays deferred.
    pub async fn receive_deferred_messages(
        &self,
        sequence_numbers: &[i64],
    ) -> Result<Vec<ReceivedMessage>, BusError> {
        if sequence_numbers.is_empty() {
            return Ok(Vec::new());
        }
        self.check_session()?;
        let locks = self.mode == ReceiveMode::PeekLock;
        let via = if locks { Via::Token } else { Via::Nothing };
        let encoded = self.management.receive_deferred(sequence_numbers, locks);
        let mut messages = self.decode_all(via, encoded.await?.into_iter());
        if let Some(keeper) = &self.keeper {
            keeper.hold(&mut messages);
        }
        Ok(messages)
    }

    /// Decodes what the management node handed out.
    fn decode_all(
        &self,
        via: Via,
        encoded: impl Iterator<Item = (Bytes, Uuid)>,
    ) -> Vec<ReceivedMessage> {
        let receiver = self.key;
        decode_all(&self.entity, DeliveryKey { receiver, via }, encoded)
    }
}

/// Decodes messages that were looked at by nobody's receiver.
pub(crate) fn decode_peeked(entity: &str, encoded: Vec<Bytes>) -> Vec<ReceivedMessage> {
    let key = DeliveryKey {
        receiver: ReceiverKey::next(),
        via: Via::Peeked,
    };
    let encoded = encoded.into_iter().map(|payload| (payload, Uuid::nil()));
    decode_all(entity, key, encoded)
}

fn decode_all(
    entity: &str,
    key: DeliveryKey,
    encoded: impl Iterator<Item = (Bytes, Uuid)>,
) -> Vec<ReceivedMessage> {
    let decode = |(payload, token): (Bytes, Uuid)| {
        let delivery = Delivery {
            id: 0,
            tag: DeliveryTag::from(token.to_bytes_le()),
            settled: key.via != Via::Token,
            payload,
        };
        decode::received(key, &delivery)
            .inspect_err(|error| {
                tracing::warn!(
                    bus.entity = %entity,
                    error = %error,
                    "a message is no AMQP message; it is left out"
                );
            })
            .ok()
    };
    encoded.filter_map(decode).collect()
}
