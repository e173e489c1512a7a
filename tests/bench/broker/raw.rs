//! The limit: a client that costs next to nothing.
//!
//! A thread moves frames that were encoded beforehand over a plain socket, with none of our client
//! or codec in it. It looks at a frame's size to find the next one and reads the delivery-ids; no
//! message is decoded, kept or handed to anybody. What is left is the broker and the wire.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::BODY_BYTES;
use crate::process::QUEUE;

/// Messages under way when sending: as many as can be without looking at the credit, which the
/// broker renews when half of a thousand is used.
const SENDING: u32 = 500;

/// The descriptors of the frames (AMQP 1.0, 2.7 and 5.3.3).
const OPEN: u8 = 0x10;
const BEGIN: u8 = 0x11;
const ATTACH: u8 = 0x12;
const FLOW: u8 = 0x13;
const TRANSFER: u8 = 0x14;
const DISPOSITION: u8 = 0x15;
const SASL_INIT: u8 = 0x41;

const NULL: u8 = 0x40;
const TRUE: u8 = 0x41;
const FALSE: u8 = 0x42;
const ZERO: u8 = 0x43;

/// Sends `count` messages and waits for every confirmation.
pub(super) fn send(address: &str, count: u32) -> anyhow::Result<Duration> {
    let mut end = End::connect(address)?;
    end.put(ATTACH, 10, &attach(false), &[]);
    let mut payload = vec![0x00, 0x53, 0x75, 0xb0];
    payload.extend(u32::try_from(BODY_BYTES)?.to_be_bytes());
    payload.resize(payload.len() + BODY_BYTES, b'x');
    // The link's credit comes behind the answer to it.
    while !end.turn()?.contains(&Seen::Other(FLOW)) {}
    let began = Instant::now();
    let (mut sent, mut confirmed) = (0, 0);
    while confirmed < count {
        while sent < count && sent - confirmed < SENDING {
            let mut fields = vec![ZERO];
            fields.extend(uint(sent));
            fields.extend([0xa0, 4]);
            fields.extend(sent.to_be_bytes());
            fields.extend([ZERO, FALSE]);
            end.put(TRANSFER, 5, &fields, &payload);
            sent += 1;
        }
        for seen in end.turn()? {
            if let Seen::Settled { first, last } = seen {
                confirmed += last - first + 1;
            }
        }
    }
    Ok(began.elapsed())
}

/// Receives `count` messages, completes each with a frame of its own, and waits for every
/// confirmation.
pub(super) fn receive(address: &str, count: u32) -> anyhow::Result<Duration> {
    let mut end = End::connect(address)?;
    end.put(ATTACH, 10, &attach(true), &[]);
    let began = Instant::now();
    let mut flow = vec![NULL];
    flow.extend([WINDOW, [0x70, 0, 0, 0, 0], WINDOW].concat());
    flow.extend([ZERO, ZERO]);
    flow.extend(uint(count));
    end.put(FLOW, 7, &flow, &[]);
    let mut confirmed = 0;
    while confirmed < count {
        for seen in end.turn()? {
            match seen {
                Seen::Message(id) => {
                    let mut fields = vec![TRUE];
                    fields.extend(uint(id));
                    // Not settled: the broker confirms. The state is `accepted`.
                    fields.extend([NULL, FALSE, 0x00, 0x53, 0x24, 0x45]);
                    end.put(DISPOSITION, 5, &fields, &[]);
                }
                Seen::Settled { first, last } => confirmed += last - first + 1,
                Seen::Other(_) => {}
            }
        }
    }
    Ok(began.elapsed())
}

/// A session's window that never closes.
const WINDOW: [u8; 5] = [0x70, 0x7f, 0xff, 0xff, 0xff];

fn uint(number: u32) -> [u8; 5] {
    let [a, b, c, d] = number.to_be_bytes();
    [0x70, a, b, c, d]
}

fn text(constructor: u8, text: &[u8]) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap_or_default();
    [&[constructor, length], text].concat()
}

/// The fields of an `attach` to the queue, in the mode of a peek-lock.
fn attach(is_receiver: bool) -> Vec<u8> {
    let name = text(0xa1, QUEUE.as_bytes());
    let length = u8::try_from(name.len() + 1).unwrap_or_default();
    let terminus = |descriptor| [&[0x00, 0x53, descriptor, 0xc0, length, 1], &name[..]].concat();
    let mut fields = name.clone();
    fields.extend([ZERO, if is_receiver { TRUE } else { FALSE }]);
    fields.extend([0x50, 0, 0x50, u8::from(is_receiver)]);
    fields.extend([terminus(0x28), terminus(0x29)].concat());
    fields.extend([NULL, NULL, ZERO]);
    fields
}

/// What a frame was.
#[derive(Debug, PartialEq)]
enum Seen {
    Message(u32),
    Settled { first: u32, last: u32 },
    Other(u8),
}

/// A connection: what came and was not looked at, and what goes out next.
struct End {
    stream: TcpStream,
    input: Vec<u8>,
    filled: usize,
    output: Vec<u8>,
}

impl End {
    /// Opens a connection and a session. The user is anybody: the broker has no key.
    fn connect(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut end = Self {
            stream,
            input: vec![0; 1024 * 1024],
            filled: 0,
            output: b"AMQP\x03\x01\x00\x00".to_vec(),
        };
        let login = [text(0xa3, b"PLAIN"), text(0xa0, b"\0any\0any")].concat();
        end.put_typed(1, SASL_INIT, 2, &login, &[]);
        end.output.extend(b"AMQP\x00\x01\x00\x00");
        end.put(OPEN, 1, &text(0xa1, b"raw"), &[]);
        end.put(
            BEGIN,
            4,
            &[&[NULL, ZERO], &WINDOW[..], &WINDOW].concat(),
            &[],
        );
        Ok(end)
    }

    fn put(&mut self, descriptor: u8, count: u8, fields: &[u8], payload: &[u8]) {
        self.put_typed(0, descriptor, count, fields, payload);
    }

    /// Adds a frame with `count` fields to what goes out.
    fn put_typed(&mut self, kind: u8, descriptor: u8, count: u8, fields: &[u8], payload: &[u8]) {
        let list = u8::try_from(fields.len() + 1).unwrap_or_default();
        let head = [2, kind, 0, 0, 0x00, 0x53, descriptor, 0xc0, list, count];
        let size = 4 + head.len() + fields.len() + payload.len();
        let size = u32::try_from(size).unwrap_or_default();
        self.output.extend_from_slice(&size.to_be_bytes());
        self.output.extend_from_slice(&head);
        self.output.extend_from_slice(fields);
        self.output.extend_from_slice(payload);
    }

    /// Sends what was put, reads once, and says what came.
    fn turn(&mut self) -> anyhow::Result<Vec<Seen>> {
        self.stream.write_all(&self.output)?;
        self.output.clear();
        let count = self.stream.read(&mut self.input[self.filled..])?;
        ensure!(count > 0, "the broker closed the connection");
        self.filled += count;
        let (mut at, mut seen) = (0, Vec::new());
        while let Some(size) = self.input[at..self.filled].first_chunk::<4>() {
            if size == b"AMQP" {
                // A protocol header; it is as long as the head of a frame.
                if self.filled - at < 8 {
                    break;
                }
                at += 8;
                continue;
            }
            let size = usize::try_from(u32::from_be_bytes(*size))?;
            if at + size > self.filled {
                break;
            }
            seen.extend(read(&self.input[at..at + size])?);
            at += size;
        }
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(seen)
    }
}

/// Reads the little that is needed of a frame; an empty one says nothing.
fn read(frame: &[u8]) -> anyhow::Result<Option<Seen>> {
    let Some(&descriptor) = frame.get(10) else {
        return Ok(None);
    };
    let mut rest = match frame.get(11) {
        Some(0xc0) => frame.get(14..),
        Some(0xd0) => frame.get(20..),
        _ => None,
    }
    .context("a frame without fields")?;
    let mut field = || -> anyhow::Result<Option<u32>> {
        let (value, after) = match *rest {
            [NULL | TRUE | FALSE, ref after @ ..] => (None, after),
            [ZERO, ref after @ ..] => (Some(0), after),
            [0x52, byte, ref after @ ..] => (Some(u32::from(byte)), after),
            [0x70, a, b, c, d, ref after @ ..] => (Some(u32::from_be_bytes([a, b, c, d])), after),
            _ => anyhow::bail!("a field of another type"),
        };
        rest = after;
        Ok(value)
    };
    Ok(Some(match descriptor {
        TRANSFER => {
            field()?;
            Seen::Message(field()?.context("no delivery-id")?)
        }
        DISPOSITION => {
            field()?;
            let first = field()?.context("no first")?;
            let last = field()?.unwrap_or(first);
            Seen::Settled { first, last }
        }
        other => Seen::Other(other),
    }))
}
