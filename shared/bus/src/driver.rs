//! The task that owns a connection: its socket, its protocol engine, its links.
//!
//! One loop, four things to wait for: input, room for output, commands, a deadline. Each turn
//! takes what is there, works it through the engine, and leaves the answers in one buffer that is
//! written as a whole; so the cost of a system call is shared by all messages of a turn. Reading
//! goes on while a write waits (a broker that does not read before it has written would otherwise
//! lock both sides), but no message is written while much output waits, and a broker that keeps
//! asking for answers without reading any loses the connection.
//!
//! When the loop ends, for whatever reason, it writes that reason where callers look, and only
//! then lets go of their answers.

mod answer;
mod core;
mod incoming;
mod link;
mod numbers;
mod outgoing;
mod requests;
mod settlements;
#[cfg(test)]
mod tests;
mod window;

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::BytesMut;
use nightshift_amqp::engine::{self, Engine};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use uuid::Uuid;

#[cfg(test)]
pub(crate) use self::answer::read as read_answer;
use self::core::{Core, lost};
use crate::client::ClientOptions;
use crate::connection::{Command, Connection};
use crate::connection_string::ConnectionString;
use crate::error::BusError;
use crate::tls;

/// Commands taken in one turn.
const COMMANDS_PER_TURN: usize = 1024;
/// Output above which no further message is written, in bytes.
const OUTPUT_HIGH_WATER: usize = 4 * 1024 * 1024;
/// Answers above which the connection is given up, in bytes. Messages do not count: they stop at
/// the high water, but for the last of them, whose size is the entity's affair.
const OUTPUT_LIMIT: usize = 64 * 1024 * 1024;
/// Room for reads, in bytes.
const READ_SIZE: usize = 64 * 1024;
/// How long the last bytes may take to leave when the connection ends.
const FLUSH_GRACE: Duration = Duration::from_secs(1);

/// Dials the endpoint and returns when the broker has opened its side.
pub(crate) async fn connect(
    connection_string: &ConnectionString,
    options: &ClientOptions,
    tls: Option<&TlsConnector>,
) -> Result<Connection, BusError> {
    let host = connection_string.host();
    let deadline = Instant::now() + options.try_timeout;
    let stream = dial(
        host,
        connection_string.port(),
        deadline,
        options.try_timeout,
    )
    .await?;
    let Some(connector) = tls else {
        return open(stream, host, options, deadline).await;
    };
    let secured = tokio::time::timeout_at(deadline, tls::secure(connector, host, stream)).await;
    let secured = secured.unwrap_or(Err(BusError::Timeout {
        operation: "securing the connection",
        after: options.try_timeout,
    }));
    open(secured?, host, options, deadline).await
}

async fn dial(
    host: &str,
    port: u16,
    deadline: Instant,
    try_timeout: Duration,
) -> Result<TcpStream, BusError> {
    let dialled = tokio::time::timeout_at(deadline, TcpStream::connect((host, port))).await;
    let stream = match dialled {
        Ok(Ok(stream)) => stream,
        Ok(Err(source)) => {
            let address = if host.contains(':') {
                format!("[{host}]:{port}")
            } else {
                format!("{host}:{port}")
            };
            return Err(BusError::Connect {
                address,
                source: Arc::new(source),
            });
        }
        Err(_) => {
            return Err(BusError::Timeout {
                operation: "connecting",
                after: try_timeout,
            });
        }
    };
    // Without this a small frame waits for the acknowledgement of the one before it. A system
    // that refuses the option still works.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Opens an AMQP connection over `stream`.
pub(crate) async fn open<S>(
    stream: S,
    host: &str,
    options: &ClientOptions,
    deadline: Instant,
) -> Result<Connection, BusError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let name = match &options.identifier {
        Some(identifier) => identifier.clone(),
        None => format!("nightshift-{}", Uuid::new_v4().simple()),
    };
    let mut settings = engine::ClientOptions::new(name.as_str());
    settings.hostname = Some(host.to_owned());
    settings.idle_timeout = Some(options.idle_timeout);
    settings.limits.handshake_timeout = options.try_timeout;
    let engine = Engine::client(settings);

    let (opened, is_open) = oneshot::channel();
    let (commands, queue) = mpsc::unbounded_channel();
    let fate = Arc::new(OnceLock::new());
    let core = Core::new(engine, host.to_owned(), options.try_timeout, opened);
    tokio::spawn(run(stream, core, queue, Arc::clone(&fate)));
    let connection = Connection::new(name, commands, fate, options.try_timeout);
    connection
        .answered("opening the connection", deadline, is_open)
        .await?;
    Ok(connection)
}

/// The life of a connection.
async fn run<S>(
    stream: S,
    mut core: Core,
    mut commands: mpsc::UnboundedReceiver<Command>,
    fate: Arc<OnceLock<BusError>>,
) where
    S: AsyncRead + AsyncWrite,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut turn = Turn {
        commands: Vec::with_capacity(COMMANDS_PER_TURN),
        output: BytesMut::new(),
        unflushed: false,
        deadline: None,
        orphaned: false,
    };
    let end = loop {
        if let Err(end) = turn
            .take(&mut core, &mut reader, &mut writer, &mut commands)
            .await
        {
            break end;
        }
    };
    tracing::debug!(reason = %end, "the connection to the broker ends");
    let end = fate.get_or_init(|| end);
    commands.close();
    core.fail(end);
    while let Ok(command) = commands.try_recv() {
        // Its reply goes unanswered, and the caller reads the reason from `fate`.
        drop(command);
    }
    turn.output.unsplit(core.take_output());
    // The broker may be gone; the bytes are a courtesy (a close frame with its reason).
    let _ = tokio::time::timeout(FLUSH_GRACE, writer.write_all(&turn.output)).await;
    let _ = tokio::time::timeout(FLUSH_GRACE, writer.shutdown()).await;
}

/// What the loop keeps from turn to turn.
struct Turn {
    commands: Vec<Command>,
    /// Bytes on their way to the socket.
    output: BytesMut,
    /// What was written may still wait in the stream (TLS keeps what the socket did not take).
    unflushed: bool,
    /// The next instant at which the core wants to look at the clock.
    deadline: Option<Instant>,
    /// All handles are gone; the connection closes by itself.
    orphaned: bool,
}

impl Turn {
    /// One turn: wait for something, take it, work it through.
    async fn take<R, W>(
        &mut self,
        core: &mut Core,
        reader: &mut R,
        writer: &mut W,
        commands: &mut mpsc::UnboundedReceiver<Command>,
    ) -> Result<(), BusError>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        self.work(core)?;
        if self.output.is_empty() {
            self.output = core.take_output();
        }
        if core.answers_len() > OUTPUT_LIMIT {
            return Err(lost("the broker does not read what it asks for"));
        }
        let deadline = self.deadline;
        let timer = async move {
            match deadline {
                Some(instant) => tokio::time::sleep_until(instant).await,
                None => std::future::pending().await,
            }
        };
        make_room(core.input());
        tokio::select! {
            read = reader.read_buf(core.input()) => match read {
                Ok(0) => return Err(lost("the broker hung up")),
                Ok(_) => {}
                Err(error) => return Err(socket_failed("reading from it failed", error)),
            },
            written = push(writer, &mut self.output, &mut self.unflushed), if self.has_output() => {
                if let Err(error) = written {
                    return Err(socket_failed("writing to it failed", error));
                }
            }
            count = commands.recv_many(&mut self.commands, COMMANDS_PER_TURN), if !self.orphaned => {
                self.orphaned = count == 0;
            }
            () = timer => {}
        }
        Ok(())
    }

    fn has_output(&self) -> bool {
        !self.output.is_empty() || self.unflushed
    }

    /// Everything that can be done without waiting.
    fn work(&mut self, core: &mut Core) -> Result<(), BusError> {
        if !self.commands.is_empty() {
            core.begin_round(Instant::now());
            for command in self.commands.drain(..) {
                core.command(command);
            }
        }
        if self.orphaned {
            core.close(None);
        }
        core.process_input()?;
        core.end_round();
        let now = Instant::now();
        self.deadline = core.tick(now)?;
        Ok(())
    }
}

/// Makes room for a read. Messages share the memory that they were read into and keep all of it
/// alive, so it is used up to its last quarter before there is new one: many small reads must not
/// hold a large piece each.
fn make_room(input: &mut BytesMut) {
    if input.capacity() - input.len() < READ_SIZE / 4 {
        input.reserve(READ_SIZE);
    }
}

/// Writes what it can, and flushes behind the last of it. May be dropped and called again.
async fn push<W: AsyncWrite + Unpin>(
    writer: &mut W,
    output: &mut BytesMut,
    unflushed: &mut bool,
) -> io::Result<()> {
    if !output.is_empty() {
        if writer.write_buf(output).await? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        *unflushed = true;
        if !output.is_empty() {
            return Ok(());
        }
    }
    writer.flush().await?;
    *unflushed = false;
    Ok(())
}

fn socket_failed(reason: &str, error: io::Error) -> BusError {
    BusError::ConnectionLost {
        reason: reason.to_owned(),
        source: Some(Arc::new(error)),
    }
}
