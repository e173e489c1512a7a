//! The connection that a client has at the moment, and the links opened on it.
//!
//! A [`Supply`] outlives its connections. Whoever needs one asks for it; when the last one is
//! lost, the first to ask makes another and the rest wait for that one. Nothing happens in the
//! background: a client that nobody uses stays disconnected.
//!
//! A connection that failed, or that was lost soon after it was made, is followed by a growing
//! pause, whatever the number of callers. So callers that try again without end cost the broker no
//! more than a few connections a minute. The pause stays below [`LONGEST_PAUSE`], whatever the
//! options say, so that calls go on soon after an outage has ended; and whoever waits for a try
//! that fails is told so, instead of waiting for one of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::authorization::{Authorizer, Grant};
use crate::client::ClientOptions;
use crate::connection::{Attached, Command, Connection, LinkHandle, LinkSpec};
use crate::connection_string::ConnectionString;
use crate::driver;
use crate::error::BusError;
use crate::retry::{LastFailure, RetryOptions};
use crate::tls;

/// A connection that lived this long counts as a success, and the next one is made at once.
const STABLE_AFTER: Duration = Duration::from_secs(5);

/// The longest pause between two tries to connect. A refused connection costs nobody much, while
/// every call waits for the next try once the broker is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// One connection, with what is permitted on it.
struct Wire {
    connection: Arc<Connection>,
    authorizer: Authorizer,
    since: Instant,
}

/// An open link and what keeps it alive. `with` is what else its owner needs to use it.
pub(crate) struct OpenLink<X> {
    pub(crate) connection: Arc<Connection>,
    pub(crate) link: LinkHandle,
    pub(crate) attached: Attached,
    pub(crate) with: X,
    _grant: Grant,
}

/// How to open a link: a new specification for every try.
pub(crate) trait Opening<X>: Fn() -> (LinkSpec, X) {}

impl<X, F: Fn() -> (LinkSpec, X)> Opening<X> for F {}

/// Makes connections as they are needed.
pub(crate) struct Supply {
    connection_string: ConnectionString,
    options: ClientOptions,
    /// `None` for plain TCP.
    tls: Option<TlsConnector>,
    current: Mutex<Arc<Wire>>,
    /// Held by the one caller that makes a new connection.
    making: tokio::sync::Mutex<Failures>,
    closed: AtomicBool,
}

/// What went wrong since a connection last was good for something.
#[derive(Default)]
struct Failures {
    count: u32,
    not_before: Option<Instant>,
    last: LastFailure,
    /// The last lost connection has been counted.
    counted: bool,
}

impl Supply {
    /// Makes the first connection.
    pub(crate) async fn connect(
        connection_string: &ConnectionString,
        options: ClientOptions,
    ) -> Result<Self, BusError> {
        let tls = if connection_string.uses_development_emulator() {
            None
        } else {
            let roots = &options.extra_root_certificates;
            Some(tls::connector(connection_string.host(), roots).await?)
        };
        let wire = Wire::make(connection_string, &options, tls.as_ref()).await?;
        Ok(Self {
            connection_string: connection_string.clone(),
            options,
            tls,
            current: Mutex::new(Arc::new(wire)),
            making: tokio::sync::Mutex::default(),
            closed: AtomicBool::new(false),
        })
    }

    pub(crate) fn retry(&self) -> &RetryOptions {
        &self.options.retry
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// Opens a link for `entity`, on a new connection if need be. One try.
    pub(crate) async fn open<X>(
        &self,
        entity: &str,
        opening: &impl Opening<X>,
    ) -> Result<OpenLink<X>, BusError> {
        let wire = self.wire().await?;
        let grant = wire.authorizer.authorize(entity).await?;
        let (spec, with) = opening();
        let (link, attached) = wire.connection.attach(spec).await?;
        Ok(OpenLink {
            connection: Arc::clone(&wire.connection),
            link,
            attached,
            with,
            _grant: grant,
        })
    }

    /// The connection, a new one when the last is lost.
    async fn wire(&self) -> Result<Arc<Wire>, BusError> {
        if let Some(wire) = self.standing()? {
            return Ok(wire);
        }
        let patience = self.options.try_timeout;
        tokio::time::timeout(patience, self.remake())
            .await
            .unwrap_or(Err(BusError::Timeout {
                operation: "connecting again",
                after: patience,
            }))
    }

    async fn remake(&self) -> Result<Arc<Wire>, BusError> {
        let asked_at = Instant::now();
        let mut failures = self.making.lock().await;
        if let Some(wire) = self.standing()? {
            return Ok(wire);
        }
        if let Some(error) = failures.last.since(asked_at) {
            return Err(error);
        }
        let lived = self.current().since.elapsed();
        failures.note_loss(lived, &self.options.retry);
        if let Some(instant) = failures.not_before {
            tokio::time::sleep_until(instant).await;
        }
        match Wire::make(&self.connection_string, &self.options, self.tls.as_ref()).await {
            Ok(wire) => {
                let wire = Arc::new(wire);
                *self.current() = Arc::clone(&wire);
                failures.counted = false;
                // A client that was closed meanwhile must not keep a connection.
                self.standing()?;
                Ok(wire)
            }
            Err(error) => {
                failures.add(&self.options.retry);
                failures.last.note(&error);
                Err(error)
            }
        }
    }

    /// The connection if it stands.
    fn standing(&self) -> Result<Option<Arc<Wire>>, BusError> {
        let wire = Arc::clone(&self.current());
        if self.closed.load(Ordering::Acquire) {
            // For one that was made while `close` was looking at the last.
            wire.connection.end();
            return Err(BusError::Closed { what: "client" });
        }
        Ok((!wire.connection.is_closed()).then_some(wire))
    }

    fn current(&self) -> MutexGuard<'_, Arc<Wire>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the connection and makes no other.
    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let wire = Arc::clone(&self.current());
        // Without an answer the connection is gone already.
        let _ = wire
            .connection
            .ask("closing", |reply| Command::Close { reply })
            .await;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether there is a connection at the moment.
    pub(crate) fn is_connected(&self) -> bool {
        !self.current().connection.is_closed()
    }
}

impl Wire {
    async fn make(
        connection_string: &ConnectionString,
        options: &ClientOptions,
        tls: Option<&TlsConnector>,
    ) -> Result<Self, BusError> {
        let connection = driver::connect(connection_string, options, tls).await?;
        let connection = Arc::new(connection);
        let authorizer = Authorizer::new(Arc::clone(&connection), connection_string, options);
        Ok(Self {
            connection,
            authorizer,
            since: Instant::now(),
        })
    }
}

impl Failures {
    /// Counts a connection that was lost after it had `lived` so long, once.
    fn note_loss(&mut self, lived: Duration, retry: &RetryOptions) {
        if std::mem::replace(&mut self.counted, true) {
            return;
        }
        if lived >= STABLE_AFTER {
            *self = Self {
                counted: true,
                ..Self::default()
            };
        } else {
            self.add(retry);
        }
    }

    fn add(&mut self, retry: &RetryOptions) {
        let pause = retry.pause(self.count).min(LONGEST_PAUSE);
        self.not_before = Some(Instant::now() + pause);
        self.count = self.count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_does_not_last_is_followed_by_growing_pauses() {
        let retry = RetryOptions::default();
        let mut failures = Failures::default();
        for full in [800, 1_600, 3_200] {
            let begun = Instant::now();
            failures.counted = false;
            failures.note_loss(Duration::from_secs(1), &retry);
            let not_before = failures.not_before.unwrap();
            assert!(not_before >= begun + Duration::from_millis(full / 2));
            assert!(not_before <= Instant::now() + Duration::from_millis(full));
            failures.note_loss(Duration::from_secs(1), &retry);
            assert_eq!(failures.not_before, Some(not_before), "counted once");
        }
        failures.counted = false;
        failures.note_loss(STABLE_AFTER, &retry);
        assert_eq!((failures.count, failures.not_before), (0, None));
    }

    #[test]
    fn no_pause_is_longer_than_a_caller_can_wait() {
        let retry = RetryOptions {
            delay: Duration::from_mins(10),
            max_delay: Duration::from_hours(1),
            ..RetryOptions::default()
        };
        let mut failures = Failures::default();
        for _ in 0..50 {
            failures.add(&retry);
            let latest = Instant::now() + LONGEST_PAUSE;
            assert!(failures.not_before.unwrap() <= latest);
        }
    }
}
