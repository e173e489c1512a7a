//! A relay in front of the broker that takes one feature out of what clients say, so that it is as
//! if the broker did not have it.
//!
//! It reads the client's frames, changes the one kind that stands for the feature, and passes
//! everything else on as it came. What the broker says is not looked at.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use nightshift_amqp::message::BATCH_FORMAT;
use nightshift_amqp::performative::{DeliveryState, Performative, SenderSettleMode};
use nightshift_amqp::{Decode, Decoder, Encode, FrameHeader, FrameKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What clients can no longer ask for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Without {
    /// An operation of the management node.
    Operation(&'static str),
    /// Several messages in one transfer.
    Batches,
    /// The end of a drain.
    Drain,
    Completing,
    Abandoning,
    Deferring,
    DeadLettering,
    /// Messages that are gone once they are sent. The JavaScript SDK accepts by itself what it is
    /// sent unsettled, so that goes with it.
    ReceiveAndDelete,
}

/// A running relay; dropping it ends it and its connections.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Relay {
    pub(super) async fn start(broker: SocketAddr, without: Without) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(relay(client, broker, without));
            }
        });
        Self { address, task }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(client: TcpStream, broker: SocketAddr, without: Without) {
    let server = TcpStream::connect(broker).await.expect("the broker");
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("a socket's option");
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asked = async {
        let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
        while from_client
            .read_buf(&mut input)
            .await
            .is_ok_and(|count| count > 0)
        {
            while let Some(unit) = next_unit(&mut input) {
                pass_on(&unit, without, &mut output);
            }
            if to_server.write_all_buf(&mut output).await.is_err() {
                return;
            }
        }
        // The client has gone; the broker shall notice.
        drop(to_server.shutdown().await);
    };
    let answered = async {
        // Whoever hangs up first ends it; there is nobody to tell.
        drop(tokio::io::copy(&mut from_server, &mut to_client).await);
        drop(to_client.shutdown().await);
    };
    tokio::join!(asked, answered);
}

/// Cuts the next protocol header or frame off, when it is complete.
fn next_unit(input: &mut BytesMut) -> Option<Bytes> {
    let size = if input.starts_with(b"AMQP") {
        8
    } else {
        FrameHeader::parse(input, u32::MAX).expect("a frame")?.size
    };
    (input.len() >= size).then(|| input.split_to(size).freeze())
}

fn pass_on(unit: &Bytes, without: Without, output: &mut BytesMut) {
    let Some((body_offset, mut performative, payload)) = read(unit) else {
        output.extend_from_slice(unit);
        return;
    };
    let before = performative.clone();
    without.alter(&mut performative);
    let payload = without.rename(&payload);
    if performative == before {
        // Nothing but the payload can have changed, and that keeps its length.
        output.extend_from_slice(&unit[..unit.len() - payload.len()]);
        output.extend_from_slice(&payload);
        return;
    }
    let start = output.len();
    output.extend_from_slice(&unit[..body_offset]);
    match &performative {
        Performative::Attach(attach) => attach.encode(output),
        Performative::Flow(flow) => flow.encode(output),
        Performative::Transfer(transfer) => transfer.encode(output),
        Performative::Disposition(disposition) => disposition.encode(output),
        other => panic!("{} is never changed", other.name()),
    }
    output.extend_from_slice(&payload);
    let size = u32::try_from(output.len() - start).expect("a frame's size");
    output[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// An AMQP frame's performative and what follows it; `None` for everything else.
fn read(unit: &Bytes) -> Option<(usize, Performative, Bytes)> {
    if unit.starts_with(b"AMQP") {
        return None;
    }
    let header = FrameHeader::parse(unit, u32::MAX).ok()??;
    let body = unit.slice(header.body_offset..);
    if header.kind != FrameKind::Amqp || body.is_empty() {
        return None;
    }
    let mut decoder = Decoder::new(&body);
    let performative = Performative::decode(&mut decoder).expect("a performative");
    let payload = body.slice(decoder.position()..);
    Some((header.body_offset, performative, payload))
}

impl Without {
    fn alter(self, performative: &mut Performative) {
        match performative {
            Performative::Transfer(transfer)
                if matches!(self, Self::Batches)
                    && transfer.message_format == Some(BATCH_FORMAT) =>
            {
                transfer.message_format = Some(0);
            }
            Performative::Flow(flow) if matches!(self, Self::Drain) => flow.drain = false,
            Performative::Attach(attach)
                if matches!(self, Self::ReceiveAndDelete)
                    && attach.snd_settle_mode == SenderSettleMode::Settled =>
            {
                attach.snd_settle_mode = SenderSettleMode::Unsettled;
            }
            Performative::Disposition(disposition) => {
                let undone = match (self, &disposition.state) {
                    (Self::Completing | Self::ReceiveAndDelete, Some(DeliveryState::Accepted))
                    | (Self::DeadLettering, Some(DeliveryState::Rejected(_))) => true,
                    (Self::Abandoning, Some(DeliveryState::Modified(modified))) => {
                        !modified.undeliverable_here
                    }
                    (Self::Deferring, Some(DeliveryState::Modified(modified))) => {
                        modified.undeliverable_here
                    }
                    _ => false,
                };
                if undone {
                    disposition.state = Some(DeliveryState::Released);
                }
            }
            _ => {}
        }
    }

    /// The payload, in which the operation has another name of the same length.
    fn rename(self, payload: &Bytes) -> Bytes {
        let Self::Operation(name) = self else {
            return payload.clone();
        };
        let name = name.as_bytes();
        let mut octets = payload.to_vec();
        if let Some(at) = octets.windows(name.len()).position(|window| window == name) {
            octets[at..at + name.len()].fill(b'x');
        }
        octets.into()
    }
}
