//! Values and messages come back as they went.

use bytes::Bytes;
use proptest::prelude::*;

use super::encoded;
use super::strategies::{message, value};
use crate::field::Decode;
use crate::message::{
    BatchBuilder, Body, Header, Message, MessageError, MessageId, Properties, RawMessage, Section,
    unpack_batch,
};
use crate::value::{Map, Value};
use crate::{DecodeError, Decoder};

proptest! {
    #[test]
    fn a_value_comes_back(value in value()) {
        prop_assert_eq!(Value::decode_all(&encoded(&value)), Ok(value));
    }

    #[test]
    fn skipping_ends_where_decoding_does(value in value(), rest in any::<[u8; 3]>()) {
        let octets = Bytes::from([&encoded(&value)[..], &rest].concat());
        let mut decoder = Decoder::new(&octets);
        decoder.skip().unwrap();
        prop_assert_eq!(decoder.remaining(), 3);
    }

    #[test]
    fn every_prefix_of_a_value_is_refused(value in value(), cut in 0.0..1.0_f64) {
        let octets = encoded(&value);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss,
            reason = "a place within a short buffer")]
        let cut = (octets.len() as f64 * cut) as usize;
        prop_assert!(Value::decode_all(&octets.slice(..cut)).is_err());
    }

    #[test]
    fn a_message_comes_back(message in message()) {
        let octets = encoded(&message);
        let raw = RawMessage::split(octets.clone()).unwrap();
        prop_assert_eq!(raw.decode().unwrap(), message.clone());
        // The bare part is what is encoded without the outer sections.
        let bare = Message {
            header: None,
            delivery_annotations: None,
            message_annotations: None,
            footer: None,
            ..message.clone()
        };
        prop_assert_eq!(raw.bare(), encoded(&bare));
        prop_assert!(octets.ends_with(&raw.bare_and_footer()));
        let after = Message { properties: None, footer: message.footer, ..bare };
        prop_assert_eq!(raw.after_properties(), encoded(&after));
    }

    #[test]
    fn a_batch_comes_back(messages in proptest::collection::vec(message(), 1..5)) {
        let messages: Vec<Bytes> = messages.iter().map(encoded).collect();
        let mut batch = BatchBuilder::new();
        for message in &messages {
            let predicted = batch.size_with(message.len());
            batch.push(message);
            prop_assert_eq!(batch.size(), predicted);
        }
        prop_assert_eq!(unpack_batch(batch.finish()), Ok(messages));
    }
}

#[test]
fn a_message_as_clients_send_it() {
    let octets: &[u8] = &[
        // header: durable true
        0x00, 0x53, 0x70, 0xc0, 0x02, 0x01,
        0x41, // application-properties, described by symbol
        0x00, 0x53, 0x73, 0xc0, 0x04, 0x01, 0xa1, 0x01, b'7', // properties: message-id "7"
        0x00, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x74, 0xc1, 0x01,
        0x00, // application-properties, empty
        0x00, 0x53, 0x75, 0xb0, 0, 0, 0, 2, b'h', b'i', // data
    ];
    let raw = RawMessage::split(Bytes::from_static(octets)).unwrap();
    let durable = Header {
        durable: Some(true),
        ..Header::default()
    };
    assert_eq!(raw.header(), Ok(Some(durable)));
    let named = Properties {
        message_id: Some(MessageId::from("7")),
        ..Properties::default()
    };
    assert_eq!(raw.properties(), Ok(Some(named)));
    assert_eq!(raw.application_properties(), Ok(Some(Map::new())));
    assert_eq!(raw.body(), Ok(Body::data(&b"hi"[..])));
    assert_eq!(raw.bare(), &octets[7..]);
    assert_eq!(raw.message_annotations(), Ok(None));
}

#[test]
fn sections_keep_their_order() {
    use Section::{AmqpSequence, AmqpValue, Data, Footer, Header, MessageAnnotations, Properties};

    let section = |section: Section| -> Vec<u8> {
        let code = u8::try_from(section.descriptor()).unwrap();
        match section {
            Section::Header | Section::Properties | Section::AmqpSequence => {
                vec![0x00, 0x53, code, 0x45]
            }
            Section::Data => vec![0x00, 0x53, code, 0xa0, 0x00],
            Section::AmqpValue => vec![0x00, 0x53, code, 0x40],
            _ => vec![0x00, 0x53, code, 0xc1, 0x01, 0x00],
        }
    };
    let split = |sections: &[Section]| {
        let octets: Vec<u8> = sections.iter().copied().flat_map(section).collect();
        RawMessage::split(Bytes::from(octets)).map(drop)
    };
    for fine in [
        &[][..],
        &[Data, Data, Data],
        &[AmqpSequence, AmqpSequence],
        &[Header, MessageAnnotations, Properties, AmqpValue, Footer],
    ] {
        assert_eq!(split(fine), Ok(()), "{fine:?}");
    }
    for (broken, section) in [
        (&[Properties, Header][..], Header),
        (&[Header, Header], Header),
        (&[AmqpValue, AmqpValue], AmqpValue),
        (&[Data, AmqpSequence], AmqpSequence),
        (&[Data, Footer, Data], Data),
        (&[Footer, Footer], Footer),
        (&[Data, Properties], Properties),
    ] {
        assert_eq!(
            split(broken),
            Err(MessageError::SectionOrder { section }),
            "{broken:?}"
        );
    }
}

#[test]
fn what_is_no_message_is_refused() {
    let split = |octets: &'static [u8]| RawMessage::split(Bytes::from_static(octets)).unwrap_err();
    assert_eq!(
        split(&[0x00, 0x53, 0x79, 0x40]),
        MessageError::UnknownSection { descriptor: 0x79 }
    );
    assert!(matches!(split(b"{}"), MessageError::Malformed(_)));
    assert!(matches!(
        split(&[0x00, 0x53, 0x75, 0xa0, 9]),
        MessageError::MalformedSection {
            section: Section::Data,
            ..
        }
    ));
    let raw = RawMessage::split(Bytes::from_static(&[0x00, 0x53, 0x74, 0x43])).unwrap();
    let source = DecodeError::UnexpectedType {
        expected: "map",
        code: 0x43,
        offset: 3,
    };
    let section = Section::ApplicationProperties;
    assert_eq!(
        raw.application_properties(),
        Err(MessageError::MalformedSection { section, source })
    );
}

#[test]
fn a_batch_is_made_of_data_only() {
    let value = Message {
        body: Body::Value(Value::Null),
        ..Message::default()
    };
    assert_eq!(unpack_batch(encoded(&value)), Err(MessageError::NotABatch));
    assert_eq!(unpack_batch(Bytes::new()), Err(MessageError::NotABatch));
    // The outer sections describe the first message and are passed over.
    let mut outer = Message {
        body: Body::data(&b"inner"[..]),
        ..Message::default()
    };
    outer.message_annotations = Some([("x-opt-partition-key", "k")].into_iter().collect());
    assert_eq!(
        unpack_batch(encoded(&outer)),
        Ok(vec![Bytes::from_static(b"inner")])
    );
}
