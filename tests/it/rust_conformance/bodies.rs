//! Bodies: every byte comes back, whatever the size.

use nightshift_bus::{BodyKind, Message};

use super::checks;
use super::world::{World, complete};

const QUEUE: &str = "rust-bodies";

checks![
    empty_binary_and_broken_texts_come_back_byte_for_byte,
    a_body_of_several_frames_comes_back_byte_for_byte,
    a_batch_keeps_every_body,
];

async fn empty_binary_and_broken_texts_come_back_byte_for_byte(world: World) {
    let every: Vec<u8> = (0..=255).collect();
    let bodies: [&[u8]; 5] = [
        b"",
        b"\x00",
        &every,
        b"\xff\xfe\xc3\x28",
        "{\"a\":\"ż\"}".as_bytes(),
    ];
    let sender = world.sender(QUEUE).await;
    for body in bodies {
        sender
            .send_message(Message::new(body.to_vec()))
            .await
            .unwrap();
    }
    let receiver = world.receiver(QUEUE).await;
    let messages = world.take(&receiver, bodies.len()).await;
    for (message, body) in messages.iter().zip(bodies) {
        assert_eq!(
            (&message.message.body[..], &message.body_kind),
            (body, &BodyKind::Data)
        );
    }
    complete(&receiver, &messages).await;
}

async fn a_body_of_several_frames_comes_back_byte_for_byte(world: World) {
    let body: Vec<u8> = (0..250 * 1024_u32)
        .map(|n| u8::try_from(n * 31 % 251).unwrap())
        .collect();
    let sender = world.sender(QUEUE).await;
    sender
        .send_message(Message::new(body.clone()))
        .await
        .unwrap();
    let receiver = world.receiver(QUEUE).await;
    let message = world.take_one(&receiver).await;
    assert!(
        message.message.body == body,
        "{} bytes",
        message.message.body.len()
    );
    complete(&receiver, &[message]).await;
}

async fn a_batch_keeps_every_body(world: World) {
    let sizes = [0, 1, 255, 256, 70_000, 3];
    let message = |size: &usize| Message::new(vec![b'x'; *size]);
    let sender = world.sender(QUEUE).await;
    sender
        .send_messages(sizes.iter().map(message).collect())
        .await
        .unwrap();
    let receiver = world.receiver(QUEUE).await;
    let messages = world.take(&receiver, sizes.len()).await;
    let came: Vec<usize> = messages.iter().map(|m| m.message.body.len()).collect();
    assert_eq!(came, sizes);
    complete(&receiver, &messages).await;
}
