//! Bodies on their way through the host.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{Response, StatusCode};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

use super::guard::Refusal;
use crate::call::{BodyTooLong, BodyTooSlow};
use crate::handler::BoxError;

/// What an answer carries.
pub(super) type ReplyBody = UnsyncBoxBody<Bytes, BoxError>;

/// How long a request's body may stand still.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// The most bytes set aside for a body before any has arrived.
const FIRST_CAPACITY: u64 = 64 * 1024;

/// An answer with a body that is there.
pub(super) fn reply(status: StatusCode, body: impl Into<Bytes>) -> Response<ReplyBody> {
    let body = Full::new(body.into()).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response
}

/// Reads a request's body, at most `most` bytes.
pub(super) async fn read(mut body: Incoming, most: u64) -> Result<Bytes, Refusal> {
    let expected = body.size_hint().lower();
    if expected > most {
        return Err(Refusal::TOO_LARGE);
    }
    let capacity = usize::try_from(expected.min(FIRST_CAPACITY)).unwrap_or_default();
    let mut out = BytesMut::with_capacity(capacity);
    loop {
        let frame = match timeout(BODY_PATIENCE, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) => return Err(Refusal::BROKEN_BODY),
            Ok(None) => return Ok(out.freeze()),
            Err(_) => return Err(Refusal::SLOW_BODY),
        };
        if let Ok(data) = frame.into_data() {
            let total = u64::try_from(out.len().saturating_add(data.len())).unwrap_or(u64::MAX);
            if total > most {
                return Err(Refusal::TOO_LARGE);
            }
            out.extend_from_slice(&data);
        }
    }
}

/// When something moved last.
#[derive(Debug, Clone)]
pub(super) struct Movement(watch::Sender<Instant>);

impl Movement {
    /// It begins now.
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Instant::now()))
    }

    /// Something has moved.
    pub(super) fn moved(&self) {
        self.0.send_replace(Instant::now());
    }

    /// Waits until nothing has moved for as long as `patience`.
    pub(super) async fn stands_still(&self, patience: Duration) {
        let mut moved = self.0.subscribe();
        loop {
            let due = *moved.borrow_and_update() + patience;
            tokio::select! {
                () = sleep_until(due) => return,
                // The sender is held here, so it is there.
                _ = moved.changed() => {}
            }
        }
    }
}

/// A request's body that is passed on as it comes. It can be taken up again by another try as long
/// as nothing of it was read.
#[derive(Debug, Clone)]
pub(super) struct SharedBody {
    inner: Arc<Mutex<Incoming>>,
    movement: Movement,
    hint: (u64, Option<u64>),
    left: u64,
}

impl SharedBody {
    pub(super) fn new(inner: Incoming, most: u64) -> Self {
        let hint = inner.size_hint();
        Self {
            hint: (hint.lower(), hint.upper()),
            inner: Arc::new(Mutex::new(inner)),
            movement: Movement::new(),
            left: most,
        }
    }

    /// Waits until nothing of the body has come for as long as `patience`, whoever's fault it is.
    pub(super) async fn stands_still(&self, patience: Duration) {
        self.movement.stands_still(patience).await;
    }
}

impl Body for SharedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            Pin::new(&mut *inner).poll_frame(context)
        };
        let frame = match ready!(polled) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => return Poll::Ready(None),
        };
        let length = frame.data_ref().map_or(0, Bytes::len);
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        match self.left.checked_sub(length) {
            Some(left) => {
                self.left = left;
                self.movement.moved();
                Poll::Ready(Some(Ok(frame)))
            }
            None => Poll::Ready(Some(Err(BodyTooLong.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.hint == (0, Some(0))
    }

    fn size_hint(&self) -> SizeHint {
        match self.hint {
            (lower, Some(upper)) if lower == upper => SizeHint::with_exact(lower),
            _ => SizeHint::new(),
        }
    }
}

/// A request's body that breaks off when its caller lets the handler wait for more of it. While the
/// handler does not ask for more, no time counts.
#[derive(Debug)]
pub(super) struct PromptBody {
    inner: SharedBody,
    patience: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl PromptBody {
    /// With the patience for every body.
    pub(super) fn new(inner: SharedBody) -> Self {
        Self {
            inner,
            patience: BODY_PATIENCE,
            alarm: None,
        }
    }
}

impl Body for PromptBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            self.alarm = None;
            return Poll::Ready(frame);
        }
        let patience = self.patience;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(alarm.as_mut().poll(context));
        Poll::Ready(Some(Err(BodyTooSlow(patience).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests;
