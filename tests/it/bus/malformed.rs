//! Messages that are none.

use std::net::SocketAddr;

use nightshift_amqp::engine::{self, Engine, Event, NewDelivery, NewLink, SaslClient};
use nightshift_amqp::performative::{DeliveryState, Source, Target};
use nightshift_amqp::sasl::PlainCredentials;
use nightshift_bus::ReceiverOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{broker, connect, dead_letters, receive, receiver};

/// Sends encoded messages that our own sender would not write to the queue `q`.
pub(crate) async fn send_raw(address: SocketAddr, messages: &[&[u8]]) {
    let mut engine = Engine::client(engine::ClientOptions {
        // Spares the token.
        sasl: SaslClient::Plain(PlainCredentials {
            authorization_id: String::new(),
            user: "any".to_owned(),
            password: "any".to_owned(),
        }),
        ..engine::ClientOptions::new("raw")
    });
    let mut stream = TcpStream::connect(address)
        .await
        .expect("the broker listens");
    let mut accepted = 0;
    while accepted < messages.len() {
        while let Some(event) = engine.next_event().expect("the broker keeps to AMQP") {
            match event {
                Event::Opened(_) => {
                    let session = engine.begin_session().expect("the connection is open");
                    let link = NewLink::new("raw", Source::new("raw"), Target::new("q"));
                    engine.attach_sender(session, link).expect("there is room");
                }
                Event::Credit { link, .. } => {
                    for (tag, message) in (0_u32..).zip(messages) {
                        let delivery = NewDelivery {
                            tag: tag.to_be_bytes().into(),
                            message_format: 0,
                            settled: false,
                        };
                        engine.send(link, delivery, &[message]).expect("credit");
                    }
                }
                Event::Disposition { disposition, .. } => {
                    assert_eq!(disposition.state, Some(DeliveryState::Accepted));
                    accepted += (disposition.first..=disposition.last_id()).count();
                }
                Event::LinkDetached { error, .. } => panic!("{error:?}"),
                _ => {}
            }
        }
        stream
            .write_all_buf(engine.output())
            .await
            .expect("the broker reads");
        if accepted < messages.len() {
            stream
                .read_buf(engine.input())
                .await
                .expect("the broker answers");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_decoded_becomes_a_dead_letter_and_holds_nobody_up() {
    const PROPERTIES: &[u8] = b"\x00\x53\x74\xc1\x03\x02\xff\xff\x00\x53\x75\xa0\x01p";
    const BODY: &[u8] = b"\x00\x53\x77\xc1\x03\x02\xff\xff";
    const GOOD: &[u8] = b"\x00\x53\x75\xa0\x01g";
    let broker = broker();
    send_raw(broker.local_addr(), &[PROPERTIES, BODY, GOOD]).await;
    let client = connect(&broker.connection_string()).await;
    let receiver = receiver(&client, ReceiverOptions::default()).await;
    let good = receive(&receiver, 1).await.remove(0);
    assert_eq!(&good.message.body[..], b"g");
    receiver
        .dead_letter_message(&good, "mine", "")
        .await
        .unwrap();
    assert_eq!(broker.counts("q").unwrap().dead_letter, 3);

    // Malformed properties gave way to the reason; the body cannot be helped, and is passed over.
    let dead = client.create_receiver("q", dead_letters()).await.unwrap();
    for (body, reason) in [(b"p", "MalformedMessage"), (b"g", "mine")] {
        let message = receive(&dead, 1).await.remove(0);
        assert_eq!(&message.message.body[..], body);
        assert_eq!(message.dead_letter_reason(), Some(reason));
        dead.complete_message(&message).await.unwrap();
    }
    assert_eq!(broker.counts("q").unwrap().dead_letter, 1);
}
