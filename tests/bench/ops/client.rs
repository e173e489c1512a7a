//! One connection to the API, which is kept.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request, StatusCode};
use serde_json::Value;
use tokio::time::sleep;

use super::KEY;
use crate::host::connect;

/// Where the paths of the API begin.
const ROOT: &str = "/api/ops";

#[derive(Debug)]
pub(super) struct Client {
    connection: SendRequest<Full<Bytes>>,
    address: SocketAddr,
}

impl Client {
    /// Connects as soon as somebody listens on `address`.
    pub(super) async fn connect(address: SocketAddr, patience: Duration) -> anyhow::Result<Self> {
        let began = Instant::now();
        loop {
            match connect(address).await {
                Ok(connection) => {
                    return Ok(Self {
                        connection,
                        address,
                    });
                }
                Err(error) if began.elapsed() > patience => {
                    return Err(error.context(format!("nothing listens on {address}")));
                }
                Err(_) => sleep(Duration::from_millis(2)).await,
            }
        }
    }

    /// What the API says of `path`, read to its end.
    pub(super) async fn get(&mut self, path: &str) -> anyhow::Result<Bytes> {
        let (status, body) = self.send(Method::GET, &format!("{ROOT}{path}"), "").await?;
        said(path, status, body)
    }

    /// What comes of `body`.
    pub(super) async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let (target, body) = (format!("{ROOT}{path}"), body.to_string());
        let (status, body) = self.send(Method::POST, &target, &body).await?;
        Ok(serde_json::from_slice(&said(path, status, body)?)?)
    }

    /// What `path` says, which is not the API's.
    pub(super) async fn bare(&mut self, path: &str) -> anyhow::Result<Bytes> {
        let (status, body) = self.send(Method::GET, path, "").await?;
        said(path, status, body)
    }

    /// Asks until the API answers `path`.
    pub(super) async fn until_answered(
        &mut self,
        path: &str,
        patience: Duration,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            match self.get(path).await {
                Ok(_) => return Ok(()),
                Err(error) if began.elapsed() > patience => return Err(error),
                Err(_) => {
                    sleep(Duration::from_millis(20)).await;
                    self.connection = connect(self.address).await?;
                }
            }
        }
    }

    async fn send(
        &mut self,
        method: Method,
        target: &str,
        body: &str,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", self.address.to_string())
            .header("x-functions-key", KEY)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
        self.connection.ready().await?;
        let response = self.connection.send_request(request).await;
        let response = response.with_context(|| format!("{target} was not answered"))?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, body))
    }
}

fn said(path: &str, status: StatusCode, body: Bytes) -> anyhow::Result<Bytes> {
    let what = || String::from_utf8_lossy(&body);
    ensure!(status.is_success(), "{path} answered {status}: {}", what());
    Ok(body)
}
