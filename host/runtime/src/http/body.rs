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
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::guard::Refusal;
use super::run::Run;
use crate::call::BodyTooLong;
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

/// A request's body that is passed on as it comes. It can be taken up again by another try as long
/// as nothing of it was read.
#[derive(Debug, Clone)]
pub(super) struct SharedBody {
    inner: Arc<Mutex<Incoming>>,
    /// When the last of it came.
    moved: watch::Sender<Instant>,
    hint: (u64, Option<u64>),
    left: u64,
}

impl SharedBody {
    pub(super) fn new(inner: Incoming, most: u64) -> Self {
        let hint = inner.size_hint();
        Self {
            hint: (hint.lower(), hint.upper()),
            inner: Arc::new(Mutex::new(inner)),
            moved: watch::Sender::new(Instant::now()),
            left: most,
        }
    }

    /// Waits until nothing of the body has come for as long as `patience`.
    pub(super) async fn stands_still(&self, patience: Duration) {
        let mut moved = self.moved.subscribe();
        loop {
            let due = *moved.borrow_and_update() + patience;
            tokio::select! {
                () = sleep_until(due) => return,
                // This body holds the sender, so it is there.
                _ = moved.changed() => {}
            }
        }
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
                self.moved.send_replace(Instant::now());
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

/// An answer's body that is passed on as it comes, and whose end is the end of the run.
#[derive(Debug)]
pub(super) struct StreamedBody {
    inner: Incoming,
    run: Option<Run>,
    limits: Limits,
    alarm: Option<Pin<Box<Sleep>>>,
}

/// How long an answer may take.
#[derive(Debug)]
pub(super) struct Limits {
    /// When the run is given up.
    pub(super) deadline: Option<Instant>,
    /// How long the body may stand still.
    pub(super) idle: Option<Duration>,
    /// Kills the handler if it has not kept the deadline (strict mode).
    pub(super) kill: Option<CancellationToken>,
}

/// An answer that came too slowly.
#[derive(Debug, thiserror::Error)]
#[error("the handler's answer did not end in time")]
struct TooSlow;

impl Limits {
    fn punish(&self) {
        let is_over = self
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now());
        if let Some(kill) = self.kill.as_ref().filter(|_| is_over) {
            kill.cancel();
        }
    }
}

impl StreamedBody {
    pub(super) fn new(inner: Incoming, run: Run, limits: Limits) -> Self {
        let mut body = Self {
            inner,
            run: Some(run),
            limits,
            alarm: None,
        };
        body.set_alarm();
        if body.inner.is_end_stream() {
            body.finish(false);
        }
        body
    }

    fn set_alarm(&mut self) {
        let idle = self.limits.idle.map(|idle| Instant::now() + idle);
        let next = [self.limits.deadline, idle].into_iter().flatten().min();
        match (&mut self.alarm, next) {
            (Some(alarm), Some(next)) => alarm.as_mut().reset(next),
            (alarm, Some(next)) => *alarm = Some(Box::pin(sleep_until(next))),
            (_, None) => {}
        }
    }

    fn finish(&mut self, is_failure: bool) {
        if let Some(run) = self.run.take() {
            run.end(is_failure);
        }
    }
}

impl Body for StreamedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                if self.limits.idle.is_some() {
                    self.set_alarm();
                }
                if self.inner.is_end_stream() {
                    self.finish(false);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.finish(true);
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                self.finish(false);
                Poll::Ready(None)
            }
            Poll::Pending => {
                let is_late = self
                    .alarm
                    .as_mut()
                    .is_some_and(|alarm| alarm.as_mut().poll(context).is_ready());
                if is_late {
                    self.limits.punish();
                    self.finish(true);
                    return Poll::Ready(Some(Err(TooSlow.into())));
                }
                Poll::Pending
            }
        }
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
