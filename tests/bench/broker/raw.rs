//! The limit: the same conversation without a broker and without a client.
//!
//! Two threads move frames that were encoded beforehand over loopback. Each looks at a frame's size
//! to find the next one, copies its delivery-id into the answer, and does nothing else: nothing is
//! decoded, stored, locked or timed. As between Microsoft's SDKs and the service, every message is
//! confirmed by itself, and so many are under way as the broker grants credit for.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::{BODY_BYTES, IN_FLIGHT};

/// The descriptors of the two frames, and where a frame has its own.
const TRANSFER: u8 = 0x14;
const DISPOSITION: u8 = 0x15;
const DESCRIPTOR_AT: usize = 10;

/// Where the delivery-id stands in both frames: behind the header (8 bytes), the descriptor (3), the
/// list's head (3), and a field of one byte (the handle, the role).
const ID_AT: usize = 8 + 3 + 3 + 1 + 1;

/// `transfer` (AMQP 1.0, 2.7.5) of one message that consists of one data section.
fn transfer() -> Vec<u8> {
    let mut fields = vec![0x43]; // handle 0
    fields.extend([0x70, 0, 0, 0, 0]); // delivery-id
    fields.extend([0xa0, 4, 0, 0, 0, 0]); // delivery-tag
    fields.extend([0x43, 0x42]); // message-format 0, not settled
    let mut payload = vec![0x00, 0x53, 0x75, 0xb0];
    payload.extend(u32::try_from(BODY_BYTES).unwrap_or_default().to_be_bytes());
    payload.resize(payload.len() + BODY_BYTES, b'x');
    frame(TRANSFER, 5, &fields, &payload)
}

/// `disposition` (2.7.6): accepted and settled.
fn disposition() -> Vec<u8> {
    let mut fields = vec![0x41]; // role: receiver
    fields.extend([0x70, 0, 0, 0, 0]); // first
    fields.extend([0x40, 0x41]); // last: as first; settled
    fields.extend([0x00, 0x53, 0x24, 0x45]); // accepted
    frame(DISPOSITION, 5, &fields, &[])
}

fn frame(descriptor: u8, count: u8, fields: &[u8], payload: &[u8]) -> Vec<u8> {
    let list = u8::try_from(fields.len() + 1).unwrap_or_default();
    let mut frame = vec![
        0, 0, 0, 0, 2, 0, 0, 0, 0x00, 0x53, descriptor, 0xc0, list, count,
    ];
    frame.extend(fields);
    frame.extend(payload);
    let size = u32::try_from(frame.len()).unwrap_or_default();
    frame[..4].copy_from_slice(&size.to_be_bytes());
    frame
}

/// One end of a connection: what came and was not looked at, and what goes out next.
struct End {
    stream: TcpStream,
    input: Vec<u8>,
    filled: usize,
    output: Vec<u8>,
}

impl End {
    fn new(stream: TcpStream) -> anyhow::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            input: vec![0; 256 * 1024],
            filled: 0,
            output: Vec::new(),
        })
    }

    /// Adds `frame` with this delivery-id to what goes out.
    fn put(&mut self, frame: &[u8], id: [u8; 4]) {
        let at = self.output.len() + ID_AT;
        self.output.extend_from_slice(frame);
        self.output[at..at + 4].copy_from_slice(&id);
    }

    /// Sends what was put, reads once, and calls `each` with the descriptor and the delivery-id of
    /// every frame that is there.
    fn turn(&mut self, mut each: impl FnMut(&mut Self, u8, [u8; 4])) -> anyhow::Result<()> {
        self.stream.write_all(&self.output)?;
        self.output.clear();
        let count = self.stream.read(&mut self.input[self.filled..])?;
        ensure!(count > 0, "the other end is gone");
        self.filled += count;
        let mut at = 0;
        while let Some(size) = self.input[at..self.filled].first_chunk::<4>() {
            let size = usize::try_from(u32::from_be_bytes(*size))?;
            if at + size > self.filled {
                break;
            }
            let frame = &self.input[at..at + size];
            let id = frame.get(ID_AT..).and_then(<[u8]>::first_chunk).copied();
            let descriptor = frame[DESCRIPTOR_AT];
            at += size;
            each(self, descriptor, id.context("a short frame")?);
        }
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(())
    }
}

fn id(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap_or_default().to_be_bytes()
}

/// Sends `count` messages and waits for each one's confirmation.
pub(super) fn send(count: usize) -> anyhow::Result<Duration> {
    between(
        move |mut service| {
            let (answer, mut answered) = (disposition(), 0);
            while answered < count {
                service.turn(|end, _, id| {
                    end.put(&answer, id);
                    answered += 1;
                })?;
            }
            Ok(service.stream.write_all(&service.output)?)
        },
        move |mut client| {
            let message = transfer();
            let (mut sent, mut confirmed) = (0, 0);
            while confirmed < count {
                while sent < count && sent - confirmed < IN_FLIGHT {
                    client.put(&message, id(sent));
                    sent += 1;
                }
                client.turn(|_, _, _| confirmed += 1)?;
            }
            Ok(())
        },
    )
}

/// Receives `count` messages, settles each, and waits for the confirmation of each.
pub(super) fn receive(count: usize) -> anyhow::Result<Duration> {
    between(
        move |mut service| {
            let (message, answer) = (transfer(), disposition());
            let (mut sent, mut settled) = (0, 0);
            while settled < count {
                while sent < count && sent - settled < IN_FLIGHT {
                    service.put(&message, id(sent));
                    sent += 1;
                }
                service.turn(|end, _, id| {
                    end.put(&answer, id);
                    settled += 1;
                })?;
            }
            Ok(service.stream.write_all(&service.output)?)
        },
        move |mut client| {
            let settle = disposition();
            let (mut received, mut confirmed) = (0, 0);
            while confirmed < count {
                client.turn(|end, descriptor, id| {
                    if descriptor == TRANSFER {
                        end.put(&settle, id);
                        received += 1;
                    } else {
                        confirmed += 1;
                    }
                })?;
            }
            ensure!(received == count, "{received} of {count} messages came");
            Ok(())
        },
    )
}

/// Runs the two ends of a connection at once and says how long the client's took.
fn between(
    service: impl FnOnce(End) -> anyhow::Result<()> + Send + 'static,
    client: impl FnOnce(End) -> anyhow::Result<()>,
) -> anyhow::Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = End::new(TcpStream::connect(listener.local_addr()?)?)?;
    let far = End::new(listener.accept()?.0)?;
    let service = std::thread::spawn(move || service(far));
    let began = Instant::now();
    client(near)?;
    let elapsed = began.elapsed();
    match service.join() {
        Ok(result) => result?,
        Err(_) => anyhow::bail!("the other end panicked"),
    }
    Ok(elapsed)
}
