//! The link that a sender, a receiver or a management node uses at the moment.
//!
//! A lost link is replaced by the first call that needs one; the others wait for that. A call
//! tries as often as [`RetryOptions`](crate::RetryOptions) say, and all of its tries together end
//! after `try_timeout`. Those who waited for it share its failure: while the broker is away, a
//! hundred callers wait as long as one.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::connection::LinkName;
use crate::error::BusError;
use crate::retry::LastFailure;
use crate::supply::{OpenLink, Opening, Supply};

/// What the link in a slot is called at the moment, for those who act on its behalf.
#[derive(Clone, Default)]
pub(crate) struct CurrentName(Arc<Mutex<Option<LinkName>>>);

impl CurrentName {
    /// The name of the link, if there is one and it stands.
    pub(crate) fn get(&self) -> Option<Arc<str>> {
        let name = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = name.as_ref().filter(|name| !name.is_lost())?;
        Some(Arc::clone(&standing.text))
    }

    fn set(&self, name: Option<LinkName>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }
}

pub(crate) struct Slot<X> {
    current: Mutex<Option<Arc<OpenLink<X>>>>,
    name: CurrentName,
    /// Held by the one caller that opens a new link.
    opening: tokio::sync::Mutex<LastFailure>,
}

impl<X> Slot<X> {
    /// A slot that opens its link when it is first needed.
    pub(crate) fn empty() -> Self {
        Self {
            current: Mutex::new(None),
            name: CurrentName::default(),
            opening: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn holding(link: OpenLink<X>) -> Self {
        let slot = Self::empty();
        slot.put(Some(Arc::new(link)));
        slot
    }

    /// The link as it is, lost or not; `None` before the first use.
    pub(crate) fn current(&self) -> Option<Arc<OpenLink<X>>> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What the link is called that is here at the moment.
    pub(crate) fn name(&self) -> CurrentName {
        self.name.clone()
    }

    fn put(&self, link: Option<Arc<OpenLink<X>>>) -> Option<Arc<OpenLink<X>>> {
        self.name
            .set(link.as_ref().map(|open| open.link.name().clone()));
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, link)
    }

    /// The link if it stands.
    pub(crate) fn standing(&self) -> Option<Arc<OpenLink<X>>> {
        self.current().filter(|open| !open.link.is_lost())
    }

    /// A link that stands, opened now if need be.
    pub(crate) async fn get(
        &self,
        supply: &Supply,
        entity: &str,
        opening: impl Opening<X>,
    ) -> Result<Arc<OpenLink<X>>, BusError> {
        if let Some(open) = self.standing() {
            return Ok(open);
        }
        let patience = supply.options().try_timeout;
        let asked_at = Instant::now();
        let reopened = async {
            let mut last = self.opening.lock().await;
            if self.standing().is_none()
                && let Some(error) = last.since(asked_at)
            {
                return Err(error);
            }
            let mut pauses = supply.retry().pauses();
            loop {
                if let Some(open) = self.standing() {
                    return Ok(open);
                }
                let error = match supply.open(entity, &opening).await {
                    Ok(open) => {
                        let open = Arc::new(open);
                        self.put(Some(Arc::clone(&open)));
                        return Ok(open);
                    }
                    Err(error) => error,
                };
                let Some(pause) = pauses.next().filter(|_| error.is_transient()) else {
                    last.note(&error);
                    return Err(error);
                };
                tokio::time::sleep(pause).await;
            }
        };
        let timeout = BusError::Timeout {
            operation: "opening a link again",
            after: patience,
        };
        tokio::time::timeout(patience, reopened)
            .await
            .unwrap_or(Err(timeout))
    }

    /// Detaches the link, if there is one, and waits for the broker to confirm.
    pub(crate) async fn close(&self) {
        if let Some(Ok(open)) = self.put(None).map(Arc::try_unwrap) {
            open.link.detach().await;
        }
    }
}
