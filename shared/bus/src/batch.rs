//! Packing many messages into few transfers.
//!
//! A batch (message format 0x80013700) is an outer message whose body is one data section per
//! message, each holding that message's encoding. The broker routes all of a batch by the outer
//! message's session and partition, so a batch ends where those change; the order of the messages
//! stays as given.

use std::ops::Range;

use bytes::BytesMut;
use nightshift_amqp::message::{BATCH_FORMAT, MESSAGE_FORMAT, Section};

use crate::connection::Transfer;
use crate::encode::{self, Encoded};
use crate::message::Message;

/// The most messages of one batch: the service takes no more, whatever their size, and Microsoft's
/// .NET SDK fills no batch further.
const MOST_MESSAGES: usize = 4_500;

/// Packs `encoded`, the encodings of `messages`, into transfers of at most `limit` bytes. A
/// message that fits into no batch, or that would be alone in one, goes by itself.
pub(crate) fn pack(messages: &[Message], encoded: &Encoded, limit: u64) -> Vec<Transfer> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut transfers = Vec::new();
    let mut open: Option<OpenBatch<'_>> = None;
    for (index, message) in messages.iter().enumerate() {
        let length = encoded.get(index).len();
        if let Some(batch) = &mut open
            && batch.takes(message, length, limit)
        {
            continue;
        }
        let next = OpenBatch::begin(index, message, length);
        if let Some(full) = open.replace(next) {
            transfers.push(full.close(encoded));
        }
    }
    transfers.extend(open.map(|batch| batch.close(encoded)));
    transfers
}

/// The batch that is being filled.
struct OpenBatch<'a> {
    first: &'a Message,
    envelope: BytesMut,
    /// Which messages are in it.
    members: Range<usize>,
    size: usize,
}

impl<'a> OpenBatch<'a> {
    fn begin(index: usize, first: &'a Message, length: usize) -> Self {
        let mut envelope = BytesMut::new();
        encode::envelope(first, &mut envelope);
        let size = envelope.len() + section_size(length);
        Self {
            first,
            envelope,
            members: index..index + 1,
            size,
        }
    }

    /// Adds the next message if it may go into this batch.
    fn takes(&mut self, message: &Message, length: usize, limit: usize) -> bool {
        let size = self.size + section_size(length);
        let fits = size <= limit
            && self.members.len() < MOST_MESSAGES
            && message.session_id == self.first.session_id
            && message.partition_key == self.first.partition_key;
        if fits {
            self.size = size;
            self.members.end += 1;
        }
        fits
    }

    fn close(self, encoded: &Encoded) -> Transfer {
        if self.members.len() == 1 {
            return Transfer {
                format: MESSAGE_FORMAT,
                payload: encoded.share(self.members.start),
            };
        }
        let mut out = self.envelope;
        out.reserve(self.size - out.len());
        for index in self.members {
            Section::Data.put(&mut out, encoded.get(index));
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
    use bytes::Bytes;
    use nightshift_amqp::message::unpack_batch;

    use super::*;

    fn encoded(messages: &[Message]) -> Encoded {
        encode::messages(messages).unwrap()
    }

    /// Each message by itself.
    fn apart(encoded: &Encoded) -> Vec<Bytes> {
        (0..encoded.len())
            .map(|index| encoded.share(index))
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
            let transfers = pack(&messages, &encoded, limit);
            for transfer in &transfers {
                let size = transfer.payload.len() as u64;
                assert!(transfer.format == MESSAGE_FORMAT || size <= limit);
            }
            assert_eq!(
                contents(transfers).concat(),
                apart(&encoded),
                "limit {limit}"
            );
        }
        assert_eq!(pack(&messages, &encoded, 100_000).len(), 1);
    }

    #[test]
    fn the_size_that_is_counted_is_the_size_that_is_sent() {
        let messages = [Message::new("a"), Message::new("b")];
        let encoded = encoded(&messages);
        let batch = pack(&messages, &encoded, 1000).remove(0);
        let exact = batch.payload.len() as u64;
        assert_eq!(pack(&messages, &encoded, exact).len(), 1);
        assert_eq!(pack(&messages, &encoded, exact - 1).len(), 2);
    }

    #[test]
    fn a_batch_ends_where_session_or_partition_changes() {
        let sessions = ["a", "a", "b", "a"];
        let messages = sessions.map(|id| Message::new("x").with_session_id(id));
        let transfers = contents(pack(&messages, &encoded(&messages), 1000));
        let sizes: Vec<usize> = transfers.iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1, 1]);
    }

    #[test]
    fn a_batch_has_no_more_messages_than_the_service_takes() {
        let messages = vec![Message::new("x"); 2 * MOST_MESSAGES + 1];
        let transfers = contents(pack(&messages, &encoded(&messages), u64::MAX));
        let sizes: Vec<usize> = transfers.iter().map(Vec::len).collect();
        assert_eq!(sizes, [MOST_MESSAGES, MOST_MESSAGES, 1]);
    }

    #[test]
    fn no_messages_make_no_transfer() {
        assert!(pack(&[], &encoded(&[]), 1000).is_empty());
    }
}
