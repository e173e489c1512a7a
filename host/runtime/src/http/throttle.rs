//! `maxOutstandingRequests` and `maxConcurrentRequests`.

use std::sync::Arc;

use nightshift_bindings::host_json::HttpOptions;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Both limits, for all HTTP functions together.
#[derive(Debug)]
pub(super) struct Throttle {
    outstanding: Option<Arc<Semaphore>>,
    concurrent: Option<Arc<Semaphore>>,
}

/// A request's place, which it keeps until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Place {
    _outstanding: Option<OwnedSemaphorePermit>,
    _concurrent: Option<OwnedSemaphorePermit>,
}

/// There is no place for another request.
#[derive(Debug)]
pub(super) struct Full;

impl Throttle {
    pub(super) fn new(options: &HttpOptions) -> Self {
        let semaphore = |limit: Option<u32>| {
            let places = usize::try_from(limit?).unwrap_or(usize::MAX);
            Some(Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))))
        };
        Self {
            outstanding: semaphore(options.max_outstanding_requests),
            concurrent: semaphore(options.max_concurrent_requests),
        }
    }

    /// A place among the outstanding requests at once, and among the running ones in its turn.
    pub(super) async fn enter(&self) -> Result<Place, Full> {
        let outstanding = match &self.outstanding {
            Some(places) => Some(Arc::clone(places).try_acquire_owned().map_err(|_| Full)?),
            None => None,
        };
        let concurrent = match &self.concurrent {
            Some(places) => Some(Arc::clone(places).acquire_owned().await.map_err(|_| Full)?),
            None => None,
        };
        Ok(Place {
            _outstanding: outstanding,
            _concurrent: concurrent,
        })
    }
}
