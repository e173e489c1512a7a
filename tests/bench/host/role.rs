//! What this program also is, when a measurement starts it again: a handler, or a bare proxy.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::process::Process;

/// The answer of the handler: what the envelope asks for, and as good as any for a forwarded call.
const ANSWER: &str = r#"{"Outputs": {"res": {"statusCode": 200, "body": "done"}}}"#;

/// Where a host tells its handler the port to listen on.
const PORT: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";

#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    Handler,
    Proxy,
}

impl Role {
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Handler, Self::Proxy]
            .into_iter()
            .find(|role| role.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Handler => "as-handler",
            Self::Proxy => "as-proxy",
        }
    }

    /// Starts this program in the role: a handler on the address, a proxy to it.
    pub(super) fn start(self, address: SocketAddr) -> anyhow::Result<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(self.name());
        match self {
            Self::Handler => command.env(PORT, address.port().to_string()),
            Self::Proxy => command.arg(address.to_string()),
        };
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Process(process))
    }

    /// Plays the role until the process is killed.
    pub(crate) fn play(self, arguments: &[String]) -> anyhow::Result<()> {
        match (self, arguments) {
            (Self::Handler, []) => {
                let port = std::env::var_os(PORT).context("no port")?;
                let port = port.to_str().context("no port")?.parse()?;
                // It answers at once: a second thread would only take a processor from the host.
                Builder::new_current_thread()
                    .enable_all()
                    .build()?
                    .block_on(handle(port))
            }
            (Self::Proxy, [target]) => Runtime::new()?.block_on(proxy(target.parse()?)),
            _ => bail!("wrong arguments for {}", self.name()),
        }
    }
}

async fn handle(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service_fn(async |request: Request<Incoming>| {
            let read = request.into_body().collect().await;
            let mut response = Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes())));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            read.map(|_| response)
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// The least that a reverse proxy can do with hyper.
#[expect(clippy::print_stdout, reason = "the parent reads the address")]
async fn proxy(target: SocketAddr) -> anyhow::Result<()> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let client = client.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let client = client.clone();
            async move {
                let path = request
                    .uri()
                    .path_and_query()
                    .map_or("/", |path| path.as_str());
                let uri = format!("http://{target}{path}").parse::<Uri>();
                *request.uri_mut() = uri.context("a path that is none")?;
                anyhow::Ok(client.request(request).await?)
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
