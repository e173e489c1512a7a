//! A handler's answer that is passed on as it comes.
//!
//! Its end is the end of the run. Until then somebody has to watch the clock who does not depend on
//! the caller: a body is asked for more only while the caller takes what there is. So the time
//! limits of an answer are kept by a task beside the connection, which ends the run, and cuts the
//! connection off, whether anybody reads or not.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::body::Movement;
use super::run::Run;
use crate::call::Failure;
use crate::handler::{BoxError, CallError};

/// The run, until it is over.
type Slot = Mutex<Option<Run>>;

/// An answer's body, whose end is the end of the run.
#[derive(Debug)]
pub(super) struct StreamedBody {
    inner: Incoming,
    run: Arc<Slot>,
    movement: Movement,
    /// Keeps the limits.
    watch: Option<AbortOnDropHandle<()>>,
}

/// How long an answer may take.
#[derive(Debug)]
pub(super) struct Limits {
    /// When the run is given up, and how long it may take for that.
    pub(super) deadline: Option<(Instant, Duration)>,
    /// How long the body may stand still.
    pub(super) idle: Option<Duration>,
    /// Kills the handler if it has not kept the deadline (strict mode).
    pub(super) kill: Option<CancellationToken>,
    /// Cuts off the caller's connection.
    pub(super) cut: CancellationToken,
}

impl StreamedBody {
    /// Passes `inner` on; must be called within a tokio runtime.
    pub(super) fn new(inner: Incoming, run: Run, limits: Limits) -> Self {
        let (run, movement) = (Arc::new(Mutex::new(Some(run))), Movement::new());
        let mut body = Self {
            inner,
            run,
            movement,
            watch: None,
        };
        if body.inner.is_end_stream() {
            body.finish(false);
        } else if limits.deadline.is_some() || limits.idle.is_some() {
            let (run, movement) = (Arc::downgrade(&body.run), body.movement.clone());
            let watch = tokio::spawn(keep(limits, run, movement));
            body.watch = Some(AbortOnDropHandle::new(watch));
        }
        body
    }

    fn finish(&mut self, is_failure: bool) {
        self.watch = None;
        if let Some(run) = take(&self.run) {
            run.end(is_failure);
        }
    }
}

/// Waits until a limit is reached and ends the run, if it has not ended.
async fn keep(limits: Limits, run: Weak<Slot>, movement: Movement) {
    let overdue = async {
        match limits.deadline {
            Some((deadline, limit)) => {
                sleep_until(deadline).await;
                limit
            }
            None => std::future::pending().await,
        }
    };
    let idle = async {
        match limits.idle {
            Some(idle) => {
                movement.stands_still(idle).await;
                idle
            }
            None => std::future::pending().await,
        }
    };
    let failure = tokio::select! {
        limit = overdue => {
            if let Some(kill) = &limits.kill {
                kill.cancel();
            }
            Failure::TooSlow(limit)
        }
        idle = idle => Failure::Call(CallError::StoodStill(idle)),
    };
    if let Some(run) = run.upgrade().and_then(|run| take(&run)) {
        run.fail(&failure);
    }
    limits.cut.cancel();
}

fn take(run: &Slot) -> Option<Run> {
    run.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl Body for StreamedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(_))) => {
                self.movement.moved();
                if self.inner.is_end_stream() {
                    self.finish(false);
                }
            }
            Poll::Ready(Some(Err(_))) => self.finish(true),
            Poll::Ready(None) => self.finish(false),
            Poll::Pending => {}
        }
        polled.map_err(Into::into)
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
