//! The handler's output, line by line.
//!
//! Lines go to the host's own standard output and error as they are: a handler that logs JSON
//! lines keeps its format, and one log collector sees both processes. In strict mode they become
//! lines of the host's log, as `console` says. The last lines of the standard error are kept for the message about an exit. A line is bounded, so a handler that
//! never ends one costs no memory; and when the host's own output is gone, reading goes on, so
//! that the handler never blocks on a full pipe.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};

use super::console::Stream;

/// A longer line is forwarded in pieces of this many bytes.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// How many lines of the standard error are kept, as the real host keeps.
const KEPT_LINES: usize = 3;

/// How much of each kept line is kept, in characters.
const KEPT_CHARS: usize = 500;

/// The last lines that were forwarded.
#[derive(Debug, Clone, Default)]
pub(super) struct LastLines(Arc<Mutex<VecDeque<String>>>);

impl LastLines {
    /// The lines as one text; empty if there were none.
    pub(super) fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(" | ")
    }

    fn push(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line)
            .trim_end()
            .chars()
            .take(KEPT_CHARS)
            .collect();
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// Forwards `from` to `to` until its end, and keeps the last lines in `last`.
pub(super) async fn forward(
    from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    last: LastLines,
) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while next_line(&mut from, &mut line).await {
        last.push(&line);
        // An output that is gone is no reason to stop reading.
        let _ = to.write_all(&line).await;
        let _ = to.flush().await;
    }
}

/// Logs what comes from `from`, which is the handler's `stream`, and keeps the last lines in `last`.
pub(super) async fn log(from: impl AsyncRead + Unpin, stream: Stream, last: LastLines) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while next_line(&mut from, &mut line).await {
        last.push(&line);
        stream.log(&String::from_utf8_lossy(&line));
    }
}

/// Puts the next line or piece, always ended by a line feed, into `line`; false at the end.
async fn next_line(from: &mut (impl AsyncBufReadExt + Unpin), line: &mut Vec<u8>) -> bool {
    line.clear();
    loop {
        let Ok(buffer) = from.fill_buf().await else {
            return false;
        };
        if buffer.is_empty() {
            break;
        }
        let room = MAX_LINE_BYTES - line.len();
        let window = &buffer[..buffer.len().min(room)];
        let end = window
            .iter()
            .position(|byte| *byte == b'\n')
            .map(|index| index + 1);
        let taken = end.unwrap_or(window.len());
        line.extend_from_slice(&window[..taken]);
        from.consume(taken);
        if end.is_some() {
            return true;
        }
        if line.len() == MAX_LINE_BYTES {
            break;
        }
    }
    if line.is_empty() {
        return false;
    }
    line.push(b'\n');
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn forwarded(input: &[u8]) -> (Vec<u8>, String) {
        let mut out = Vec::new();
        let last = LastLines::default();
        forward(input, &mut out, last.clone()).await;
        (out, last.text())
    }

    #[tokio::test]
    async fn lines_are_forwarded_and_the_last_three_are_kept() {
        let (out, last) = forwarded(b"one\ntwo\n\nthree\r\nfour").await;
        assert_eq!(out, b"one\ntwo\n\nthree\r\nfour\n");
        assert_eq!(last, " | three | four");
    }

    #[tokio::test]
    async fn an_endless_line_is_forwarded_in_pieces() {
        let (out, last) = forwarded(&vec![b'x'; MAX_LINE_BYTES * 2 + 1]).await;
        let lengths: Vec<usize> = out.split(|byte| *byte == b'\n').map(<[u8]>::len).collect();
        assert_eq!(lengths, [MAX_LINE_BYTES, MAX_LINE_BYTES, 1, 0]);
        assert!(last.len() < 3 * KEPT_CHARS + 10);
    }
}
