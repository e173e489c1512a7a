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
use tokio::time::{Instant, Sleep, timeout};

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
    hint: (u64, Option<u64>),
    left: u64,
}

impl SharedBody {
    pub(super) fn new(inner: Incoming, most: u64) -> Self {
        let hint = inner.size_hint();
        Self {
            hint: (hint.lower(), hint.upper()),
            inner: Arc::new(Mutex::new(inner)),
            left: most,
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
    /// When the run is given up.
    deadline: Option<Instant>,
    /// How long the body may stand still.
    idle: Option<Duration>,
    alarm: Option<Pin<Box<Sleep>>>,
}

/// An answer that came too slowly.
#[derive(Debug, thiserror::Error)]
#[error("the handler's answer did not end in time")]
struct TooSlow;

impl StreamedBody {
    pub(super) fn new(
        inner: Incoming,
        run: Run,
        deadline: Option<Instant>,
        idle: Option<Duration>,
    ) -> Self {
        let mut body = Self {
            inner,
            run: Some(run),
            deadline,
            idle,
            alarm: None,
        };
        body.set_alarm();
        if body.inner.is_end_stream() {
            body.finish(false);
        }
        body
    }

    fn set_alarm(&mut self) {
        let idle = self.idle.map(|idle| Instant::now() + idle);
        let next = [self.deadline, idle].into_iter().flatten().min();
        match (&mut self.alarm, next) {
            (Some(alarm), Some(next)) => alarm.as_mut().reset(next),
            (alarm, Some(next)) => *alarm = Some(Box::pin(tokio::time::sleep_until(next))),
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
                if self.idle.is_some() {
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
