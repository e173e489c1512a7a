//! Bytes that no decent peer sends.

use super::raw_peer::{RawPeer, transfer};
use crate::condition;
use crate::engine::{Event, Limits, ProtocolError};
use crate::frame::FrameError;
use crate::performative::Role;

#[test]
fn malformed_frames_close_with_a_framing_error() {
    let cases: [(&[u8], FrameError); 4] = [
        (&[0, 0, 0, 7, 2, 0, 0, 0], FrameError::TooShort { size: 7 }),
        (
            &[0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0],
            FrameError::TooLong {
                size: u32::MAX,
                limit: 262_144,
            },
        ),
        (
            &[0, 0, 0, 8, 1, 0, 0, 0],
            FrameError::BodyOffset {
                size: 8,
                body_offset: 4,
            },
        ),
        (
            &[0, 0, 0, 8, 2, 9, 0, 0],
            FrameError::UnknownKind { kind: 9 },
        ),
    ];
    for (octets, expected) in cases {
        let mut peer = RawPeer::opened(Limits::default());
        peer.engine.receive(octets);
        let (error, condition) = peer.failure();
        assert_eq!(error, ProtocolError::Frame(expected));
        assert_eq!(condition, condition::FRAMING_ERROR);
    }
}

#[test]
fn what_came_before_a_malformed_frame_still_counts() {
    let (mut peer, link) = RawPeer::with_link(Limits::default(), Role::Sender);
    peer.engine.set_credit(link, 5).unwrap();
    peer.say(0, &transfer(7, 0, false), b"good");
    peer.engine.receive(&[0, 0, 0, 1, 0, 0, 0, 0]);
    assert!(matches!(
        peer.engine.next_event(),
        Ok(Some(Event::Delivery(_)))
    ));
    assert_eq!(peer.failure().1, condition::FRAMING_ERROR);
}

#[test]
fn bodies_that_do_not_decode_close_with_a_decode_error() {
    let bodies: [&[u8]; 7] = [
        // Not described.
        &[0x40],
        // An unknown performative.
        &[0x00, 0x53, 0x99, 0x45],
        // A begin without its mandatory fields.
        &[0x00, 0x53, 0x11, 0x45],
        // A list that claims more than there is.
        &[0x00, 0x53, 0x11, 0xd0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1],
        // A list that claims more items than it has octets.
        &[0x00, 0x53, 0x11, 0xc0, 0x02, 0xff, 0x40],
        // A symbolic descriptor that nobody knows.
        &[0x00, 0xa3, 0x01, b'x', 0x45],
        // Half a descriptor.
        &[0x00, 0x80, 0x00],
    ];
    for body in bodies {
        let mut peer = RawPeer::opened(Limits::default());
        let size = u32::try_from(body.len() + 8).unwrap();
        peer.engine.receive(&size.to_be_bytes());
        peer.engine.receive(&[2, 0, 0, 0]);
        peer.engine.receive(body);
        assert_eq!(peer.failure().1, condition::DECODE_ERROR, "{body:02x?}");
    }
}

#[test]
fn sasl_after_sasl_is_not_allowed() {
    let mut peer = RawPeer::opened(Limits::default());
    peer.engine.receive(&[0, 0, 0, 8, 2, 1, 0, 0]);
    assert_eq!(peer.failure().1, condition::NOT_ALLOWED);
}

#[test]
fn a_transfer_to_a_sending_link_ends_the_session() {
    let (mut peer, _) = RawPeer::with_link(Limits::default(), Role::Receiver);
    peer.say(0, &transfer(7, 0, false), b"");
    let events = peer.events();
    let Some(Event::SessionEnded {
        error: Some(error), ..
    }) = events.last()
    else {
        panic!("{events:?}")
    };
    assert_eq!(error.condition, condition::NOT_ALLOWED);
}

#[test]
fn extended_headers_and_empty_frames_are_passed_over() {
    let mut peer = RawPeer::opened(Limits::default());
    // A sign of life whose header has four octets of extension.
    peer.engine.receive(&[0, 0, 0, 12, 3, 0, 0, 0, 1, 2, 3, 4]);
    peer.engine.receive(&[0, 0, 0, 8, 2, 0, 0, 0]);
    assert_eq!(peer.events(), []);
    assert_eq!(peer.heard(), []);
}
