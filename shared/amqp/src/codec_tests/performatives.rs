//! Performatives come back as they went, and look on the wire as others write them.

use bytes::Bytes;
use proptest::option::of;
use proptest::prelude::*;

use super::encoded;
use super::strategies::{error, map, octets, symbol, text, value};
use crate::field::Decode;
use crate::performative::{
    Attach, AttachTarget, Begin, Close, Coordinator, DeliveryState, Detach, Disposition, End, Flow,
    Modified, Open, Performative, Received, ReceiverSettleMode, Rejected, Role, SenderSettleMode,
    Source, Target, Transfer,
};
use crate::sasl::{SaslCode, SaslFrame, SaslInit, SaslMechanisms, SaslOutcome};
use crate::value::{DeliveryTag, Described, Symbol, Value};

fn symbols() -> impl Strategy<Value = Vec<Symbol>> {
    proptest::collection::vec(symbol(), 0..4)
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Sender), Just(Role::Receiver)]
}

fn state() -> impl Strategy<Value = DeliveryState> {
    prop_oneof![
        Just(DeliveryState::Accepted),
        Just(DeliveryState::Released),
        of(error()).prop_map(|error| DeliveryState::Rejected(Rejected { error })),
        (any::<u32>(), any::<u64>()).prop_map(|(section_number, section_offset)| {
            DeliveryState::Received(Received {
                section_number,
                section_offset,
            })
        }),
        (any::<bool>(), any::<bool>(), of(map())).prop_map(
            |(delivery_failed, undeliverable_here, message_annotations)| {
                let modified = Modified {
                    delivery_failed,
                    undeliverable_here,
                    message_annotations,
                };
                DeliveryState::Modified(modified)
            }
        ),
        value().prop_map(|value| {
            let descriptor = Value::Ulong(0x34);
            DeliveryState::Other(Box::new(Described { descriptor, value }))
        }),
    ]
}

fn source() -> impl Strategy<Value = Source> {
    (
        of(text()),
        any::<u32>(),
        any::<bool>(),
        of(map()),
        of(symbols()),
        of(symbol()),
    )
        .prop_map(
            |(address, timeout, dynamic, filter, outcomes, expiry_policy)| Source {
                address,
                expiry_policy,
                timeout,
                dynamic,
                filter,
                outcomes,
                ..Source::anonymous()
            },
        )
}

fn target() -> impl Strategy<Value = AttachTarget> {
    prop_oneof![
        (of(text()), any::<u32>(), of(symbols())).prop_map(|(address, durable, capabilities)| {
            Target {
                address,
                durable,
                capabilities,
                ..Target::anonymous()
            }
            .into()
        }),
        of(symbols())
            .prop_map(|capabilities| AttachTarget::Coordinator(Coordinator { capabilities })),
    ]
}

prop_compose! {
    fn open()(
        container_id in text(),
        hostname in of(text()),
        max_frame_size in any::<u32>(),
        channel_max in any::<u16>(),
        idle_time_out in of(any::<u32>()),
        offered_capabilities in of(symbols()),
        properties in of(map()),
    ) -> Performative {
        Performative::Open(Box::new(Open {
            hostname, max_frame_size, channel_max, idle_time_out, offered_capabilities,
            properties, ..Open::new(container_id)
        }))
    }
}

prop_compose! {
    fn begin()(
        remote_channel in of(any::<u16>()),
        next_outgoing_id in any::<u32>(),
        incoming_window in any::<u32>(),
        outgoing_window in any::<u32>(),
        handle_max in any::<u32>(),
        desired_capabilities in of(symbols()),
        properties in of(map()),
    ) -> Performative {
        Performative::Begin(Box::new(Begin {
            remote_channel, next_outgoing_id, incoming_window, outgoing_window, handle_max,
            offered_capabilities: None, desired_capabilities, properties,
        }))
    }
}

prop_compose! {
    fn attach()(
        name in text(),
        handle in any::<u32>(),
        role in role(),
        settle in (0..3_u8, any::<bool>()),
        source in of(source()),
        target in of(target()),
        unsettled in of(map()),
        incomplete_unsettled in any::<bool>(),
        initial_delivery_count in of(any::<u32>()),
        max_message_size in of(any::<u64>()),
        properties in of(map()),
    ) -> Performative {
        let snd_settle_mode = match settle.0 {
            0 => SenderSettleMode::Unsettled,
            1 => SenderSettleMode::Settled,
            _ => SenderSettleMode::Mixed,
        };
        let rcv_settle_mode =
            if settle.1 { ReceiverSettleMode::Second } else { ReceiverSettleMode::First };
        Performative::Attach(Box::new(Attach {
            name, handle, role, snd_settle_mode, rcv_settle_mode, source, target, unsettled,
            incomplete_unsettled, initial_delivery_count, max_message_size,
            offered_capabilities: None, desired_capabilities: None, properties,
        }))
    }
}

prop_compose! {
    fn flow()(
        session in (of(any::<u32>()), any::<u32>(), any::<u32>(), any::<u32>()),
        link in (of(any::<u32>()), of(any::<u32>()), of(any::<u32>()), of(any::<u32>())),
        drain in any::<bool>(),
        echo in any::<bool>(),
        properties in of(map()),
    ) -> Performative {
        let (next_incoming_id, incoming_window, next_outgoing_id, outgoing_window) = session;
        let (handle, delivery_count, link_credit, available) = link;
        Performative::Flow(Box::new(Flow {
            next_incoming_id, incoming_window, next_outgoing_id, outgoing_window, handle,
            delivery_count, link_credit, available, drain, echo, properties,
        }))
    }
}

prop_compose! {
    fn transfer()(
        handle in any::<u32>(),
        delivery_id in of(any::<u32>()),
        tag in of(proptest::collection::vec(any::<u8>(), 0..=32)),
        message_format in of(any::<u32>()),
        settled in of(any::<bool>()),
        flags in any::<[bool; 4]>(),
        state in of(state()),
    ) -> Performative {
        let [more, resume, aborted, batchable] = flags;
        Performative::Transfer(Transfer {
            handle, delivery_id, delivery_tag: tag.and_then(|tag| DeliveryTag::new(&tag)),
            message_format, settled, more, rcv_settle_mode: None, state, resume, aborted, batchable,
        })
    }
}

fn performative() -> impl Strategy<Value = Performative> {
    let disposition = (
        role(),
        any::<u32>(),
        any::<u32>(),
        any::<bool>(),
        of(state()),
    );
    prop_oneof![
        open(),
        begin(),
        attach(),
        flow(),
        transfer(),
        disposition.prop_map(|(role, first, last, settled, state)| {
            Performative::Disposition(Disposition::new(role, first, last, settled, state))
        }),
        (any::<u32>(), any::<bool>(), of(error())).prop_map(|(handle, closed, error)| {
            Performative::Detach(Box::new(Detach {
                handle,
                closed,
                error,
            }))
        }),
        of(error()).prop_map(|error| Performative::End(Box::new(End { error }))),
        of(error()).prop_map(|error| Performative::Close(Box::new(Close { error }))),
    ]
}

fn sasl() -> impl Strategy<Value = SaslFrame> {
    prop_oneof![
        symbols().prop_map(|sasl_server_mechanisms| {
            SaslFrame::Mechanisms(SaslMechanisms {
                sasl_server_mechanisms,
            })
        }),
        (symbol(), of(octets()), of(text())).prop_map(|(mechanism, initial_response, hostname)| {
            SaslFrame::Init(SaslInit {
                mechanism,
                initial_response,
                hostname,
            })
        }),
        of(octets()).prop_map(|additional_data| {
            SaslFrame::Outcome(SaslOutcome {
                code: SaslCode::System,
                additional_data,
            })
        }),
    ]
}

proptest! {
    #[test]
    fn a_performative_comes_back(performative in performative()) {
        prop_assert_eq!(Performative::decode_all(&encoded(&performative)), Ok(performative));
    }

    #[test]
    fn a_sasl_frame_comes_back(frame in sasl()) {
        prop_assert_eq!(SaslFrame::decode_all(&encoded(&frame)), Ok(frame));
    }
}

#[test]
fn defaults_and_absent_fields_take_no_space() {
    assert_eq!(
        encoded(&Close { error: None })[..],
        [0x00, 0x53, 0x18, 0x45]
    );
    assert_eq!(
        encoded(&Open::new("c"))[..],
        [0x00, 0x53, 0x10, 0xc0, 0x04, 0x01, 0xa1, 0x01, b'c']
    );
    let detach = Detach {
        handle: 0,
        closed: true,
        error: None,
    };
    assert_eq!(
        encoded(&detach)[..],
        [0x00, 0x53, 0x16, 0xc0, 0x03, 0x02, 0x43, 0x41]
    );
    let accepted = Disposition::new(Role::Receiver, 3, 3, true, Some(DeliveryState::Accepted));
    assert_eq!(
        encoded(&accepted)[..],
        [
            0x00, 0x53, 0x15, 0xc0, 0x0a, 0x05, 0x41, 0x52, 3, 0x40, 0x41, 0x00, 0x53, 0x24, 0x45
        ]
    );
}

#[test]
fn other_writers_forms_are_read() {
    // Wide list, wide numbers, a symbolic descriptor, one mechanism without an array.
    let octets = [
        &[0x00, 0xa3, 0x18][..],
        b"amqp:sasl-mechanisms:lis",
        &[0xc0, 0x07, 0x01, 0xa3, 0x04],
        b"ONLY",
    ]
    .concat();
    assert!(
        SaslFrame::decode_all(&Bytes::from(octets)).is_err(),
        "a misspelt symbol"
    );
    let octets = [
        &[0x00, 0xa3, 0x19][..],
        b"amqp:sasl-mechanisms:list",
        &[0xd0, 0, 0, 0, 10, 0, 0, 0, 1, 0xa3, 0x04],
        b"ONLY",
    ]
    .concat();
    let sasl_server_mechanisms = vec![Symbol::from("ONLY")];
    assert_eq!(
        SaslFrame::decode_all(&Bytes::from(octets)),
        Ok(SaslFrame::Mechanisms(SaslMechanisms {
            sasl_server_mechanisms
        }))
    );
    // Accepted with a list of its own width; fields that are null, then a field of the future.
    let octets: &[u8] = &[
        0x00, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x15, 0xc0, 0x12, 0x07, 0x42, 0x70, 0, 0, 0, 5, 0x40,
        0x56, 0x01, 0x00, 0x53, 0x24, 0xc0, 0x01, 0x00, 0x40, 0x40,
    ];
    let mut octets = octets.to_vec();
    octets[11] = u8::try_from(octets.len() - 12).unwrap();
    assert_eq!(
        Disposition::decode_all(&Bytes::from(octets)),
        Ok(Disposition::new(
            Role::Sender,
            5,
            5,
            true,
            Some(DeliveryState::Accepted)
        ))
    );
}
