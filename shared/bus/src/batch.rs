//! Packing many messages into few transfers.
//!
//! A batch (message format 0x80013700) is an outer message whose body is one data section per
//! message, each holding that message's encoding. The broker routes all of a batch by the outer
//! message's session and partition, so a batch ends where those change; the order of the messages
//! stays as given.

use bytes::{Bytes, BytesMut};
use nightshift_amqp::message::{BATCH_FORMAT, MESSAGE_FORMAT, Section};

use crate::connection::Transfer;
use crate::encode;
use crate::message::Message;

/// The most messages of one batch: the service takes no more, whatever their size, and Microsoft's
/// .NET SDK fills no batch further.
const MOST_MESSAGES: usize = 4_500;

/// Packs `encoded`, the encodings of `messages`, into transfers of at most `limit` bytes. A
/// message that fits into no batch, or that would be alone in one, goes by itself.
pub(crate) fn pack(messages: &[Message], encoded: Vec<Bytes>, limit: u64) -> Vec<Transfer> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut transfers = Vec::new();
    let mut open: Option<OpenBatch<'_>> = None;
    for (message, payload) in messages.iter().zip(encoded) {
        if let Some(batch) = &mut open
            && batch.takes(message, payload.len(), limit)
        {
            batch.payloads.push(payload);
            continue;
        }
        let next = OpenBatch::begin(message, payload);
        if let Some(full) = open.replace(next) {
            transfers.push(full.close());
        }
    }
    transfers.extend(open.map(OpenBatch::close));
    transfers
}

/// The batch that is being filled.
struct OpenBatch<'a> {
    first: &'a Message,
    envelope: BytesMut,
    payloads: Vec<Bytes>,
    size: usize,
}

impl<'a> OpenBatch<'a> {
    fn begin(first: &'a Message, payload: Bytes) -> Self {
        let mut envelope = BytesMut::new();
        encode::envelope(first, &mut envelope);
        let size = envelope.len() + section_size(payload.len());
        Self {
            first,
            envelope,
            payloads: vec![payload],
            size,
        }
    }

    /// Adds a message's size if the message may go into this batch.
    fn takes(&mut self, message: &Message, length: usize, limit: usize) -> bool {
        let size = self.size + section_size(length);
        let fits = size <= limit
            && self.payloads.len() < MOST_MESSAGES
            && message.session_id == self.first.session_id
            && message.partition_key == self.first.partition_key;
        if fits {
            self.size = size;
        }
        fits
    }

    fn close(mut self) -> Transfer {
        if self.payloads.len() == 1
            && let Some(payload) = self.payloads.pop()
        {
            return Transfer {
                format: MESSAGE_FORMAT,
                payload,
            };
        }
        let mut out = self.envelope;
        out.reserve(self.size - out.len());
        for payload in &self.payloads {
            Section::Data.put(&mut out, payload);
        }
        Transfer {
            format: BATCH_FORMAT,
            payload: out.freeze(),
        }
    }
}

/// Bytes of a data section with `length` bytes in it: descriptor (3), constructor (1), and a
/// length of one byte or four.
fn section_size(length: usize) -> usize {
    length + if length <= 255 { 5 } else { 8 }
}

#[cfg(test)]
mod tests {
    use nightshift_amqp::message::unpack_batch;

    use super::*;

    fn encoded(messages: &[Message]) -> Vec<Bytes> {
        messages
            .iter()
            .map(|message| encode::message(message).unwrap())
            .collect()
    }

    /// What is in each transfer.
    fn contents(transfers: Vec<Transfer>) -> Vec<Vec<Bytes>> {
        transfers
            .into_iter()
            .map(|transfer| match transfer.format {
                MESSAGE_FORMAT => vec![transfer.payload],
                _ => unpack_batch(transfer.payload).unwrap(),
            })
            .collect()
    }

    #[test]
    fn splits_by_size_and_loses_nothing() {
        let messages: Vec<Message> = (0..100_usize)
            .map(|n| Message::new(vec![b'x'; n * 7]).with_message_id(n.to_string()))
            .collect();
        let encoded = encoded(&messages);
        for limit in [0, 300, 1000, 5000, 100_000] {
            let transfers = pack(&messages, encoded.clone(), limit);
            for transfer in &transfers {
                let size = transfer.payload.len() as u64;
                assert!(transfer.format == MESSAGE_FORMAT || size <= limit);
            }
            assert_eq!(contents(transfers).concat(), encoded, "limit {limit}");
        }
        assert_eq!(pack(&messages, encoded, 100_000).len(), 1);
    }

    #[test]
    fn the_size_that_is_counted_is_the_size_that_is_sent() {
        let messages = [Message::new("a"), Message::new("b")];
        let encoded = encoded(&messages);
        let batch = pack(&messages, encoded.clone(), 1000).remove(0);
        let exact = batch.payload.len() as u64;
        assert_eq!(pack(&messages, encoded.clone(), exact).len(), 1);
        assert_eq!(pack(&messages, encoded, exact - 1).len(), 2);
    }

    #[test]
    fn a_batch_ends_where_session_or_partition_changes() {
        let sessions = ["a", "a", "b", "a"];
        let messages = sessions.map(|id| Message::new("x").with_session_id(id));
        let transfers = contents(pack(&messages, encoded(&messages), 1000));
        let sizes: Vec<usize> = transfers.iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1, 1]);
    }

    #[test]
    fn a_batch_has_no_more_messages_than_the_service_takes() {
        let messages = vec![Message::new("x"); 2 * MOST_MESSAGES + 1];
        let transfers = contents(pack(&messages, encoded(&messages), u64::MAX));
        let sizes: Vec<usize> = transfers.iter().map(Vec::len).collect();
        assert_eq!(sizes, [MOST_MESSAGES, MOST_MESSAGES, 1]);
    }

    #[test]
    fn no_messages_make_no_transfer() {
        assert!(pack(&[], Vec::new(), 1000).is_empty());
    }
}
