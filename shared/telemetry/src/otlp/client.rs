//! Who talks to the collector.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Request, Response};
use nightshift_fetch::{Limits, fetch};
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;

use super::export::Export;
use super::table::Table;
use crate::causes;
use crate::metrics::UNEXPORTED;

/// How much is waited for and read.
const LIMITS: Limits = Limits {
    patience: Duration::from_secs(10),
    max_bytes: 64 << 10,
};

/// Sends what is exported, on a connection of its own each time: that is once in some seconds.
pub(super) struct Client {
    headers: HeaderMap,
    metrics: String,
    /// Whether the last request has failed, so that an absence is told once.
    is_away: AtomicBool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(export: &Export) -> Self {
        Self {
            headers: export.headers.clone(),
            metrics: export.address("metrics"),
            is_away: AtomicBool::new(false),
        }
    }

    /// Sends what is counted now.
    pub(super) async fn send_metrics(&self, table: &Table) {
        let mut request = Request::new(table.encode().into());
        let Ok(address) = self.metrics.parse() else {
            return;
        };
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = address;
        let protobuf = HeaderValue::from_static("application/x-protobuf");
        request.headers_mut().insert(CONTENT_TYPE, protobuf);
        // Whether it came there is told and counted.
        let _ = self.send(request, "metrics").await;
    }

    async fn send(
        &self,
        mut request: Request<Bytes>,
        signal: &'static str,
    ) -> Result<Response<Bytes>, HttpError> {
        request.headers_mut().extend(self.headers.clone());
        let answer = fetch(request, LIMITS).await;
        let error = match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status())),
            Err(error) => Some(causes(error)),
        };
        let was_away = self.is_away.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) => {
                UNEXPORTED.add(&[signal], 1);
                if !was_away {
                    tracing::warn!(
                        error,
                        "the OTLP collector takes nothing; spans and metrics are dropped until it does"
                    );
                }
            }
            None if was_away => tracing::info!("the OTLP collector is back"),
            None => {}
        }
        Ok(answer?)
    }
}

/// The client as the exporter of spans asks it: from a thread of its own, where no runtime is.
#[derive(Debug)]
pub(super) struct Spans {
    pub(super) client: Arc<Client>,
    pub(super) runtime: Handle,
}

#[async_trait]
impl HttpClient for Spans {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = Arc::clone(&self.client);
        let sent = self
            .runtime
            .spawn(async move { client.send(request, "traces").await });
        sent.await?
    }
}
