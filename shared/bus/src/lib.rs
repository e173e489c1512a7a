//! Our client for Azure Service Bus and for brokers that speak like it, over AMQP 1.0.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use nightshift_bus::{ClientOptions, ConnectionString, Message, ReceiverOptions, ServiceBusClient};
//!
//! let connection_string: ConnectionString = "Endpoint=sb://localhost;SharedAccessKeyName=n;\
//!     SharedAccessKey=k;UseDevelopmentEmulator=true".parse()?;
//! let client = ServiceBusClient::connect(&connection_string, ClientOptions::default()).await?;
//!
//! let sender = client.create_sender("orders").await?;
//! sender.send_message(Message::new("{}").with_message_id("1")).await?;
//!
//! let receiver = client.create_receiver("orders", ReceiverOptions::default()).await?;
//! for message in receiver.receive_messages(10, Duration::from_secs(5)).await? {
//!     receiver.complete_message(&message).await?;
//! }
//! # Ok(()) }
//! ```
//!
//! Where messages belong to sessions, a receiver holds one session at a time:
//!
//! ```no_run
//! # async fn example(client: nightshift_bus::ServiceBusClient) -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use nightshift_bus::{BusError, SessionReceiverOptions};
//!
//! let options = SessionReceiverOptions {
//!     max_auto_lock_renewal_duration: Duration::from_mins(5),
//!     ..SessionReceiverOptions::default()
//! };
//! let session = match client.accept_next_session("chats", options).await {
//!     Ok(session) => session,
//!     Err(BusError::NoSessionAvailable { .. }) => return Ok(()),
//!     Err(error) => return Err(error.into()),
//! };
//! for message in session.receive_messages(10, Duration::from_secs(5)).await? {
//!     session.complete_message(&message).await?;
//! }
//! session.close().await;
//! # Ok(()) }
//! ```
//!
//! | what | where |
//! | --- | --- |
//! | send one, many (in batches), at a later time | [`Sender`] |
//! | receive, with or without prefetch, in both modes; peek; deferred messages | [`Receiver`] |
//! | complete, abandon, release, defer, dead-letter, with changes to properties | [`Settlement`] |
//! | sessions: by id or the next one, their lock, their state | [`SessionReceiver`] |
//! | dead letters | [`ReceiverOptions::sub_queue`] |
//! | shared access keys and signatures | [`ConnectionString`] |
//! | Microsoft Entra ID and the like | [`TokenCredential`] |
//!
//! Not offered: rules of subscriptions, transactions, sending by way of another entity, `WebSockets`.
//!
//! The names and shapes follow the official Rust client under development, so that it can take
//! this crate's place once it is published with what is needed here (connection strings, any host
//! and port, batches, dead letters).
//!
//! How it is built:
//!
//! - One task per connection (`driver`) owns the socket and the protocol engine of
//!   `nightshift-amqp`. Callers talk to it through a channel (`connection`) and wait for answers;
//!   the task works in rounds, with all commands and all input of a round answered by one write.
//! - Messages are encoded and decoded in the callers' tasks, not in the driver.
//! - Every wait is bounded by [`ClientOptions::try_timeout`]. Every answer is registered before
//!   the bytes that provoke it leave, so an answer cannot come too early.
//! - Dropping any future is safe: a receive call takes messages only in the poll that returns
//!   them; a send call leaves its message either unsent or complete on the wire; a link whose
//!   owner is gone is detached, and its unread messages go back to the broker.
//! - A lost connection fails the calls that wait on it with [`BusError::ConnectionLost`]; sends
//!   that are known not to have happened are tried again, and one whose outcome nobody knows says
//!   so ([`BusError::SendOutcomeUnknown`]). The next call makes a new connection and opens its link
//!   again, with growing pauses ([`RetryOptions`]). Between calls nothing is connected.
//! - A session is the exception: it ends with its link ([`BusError::SessionLockLost`]), since going
//!   on over another link could change the order of its messages.

mod authorization;
mod batch;
mod cbs;
mod client;
mod connection;
mod connection_string;
mod decode;
mod driver;
mod encode;
mod error;
#[cfg(test)]
mod fuzz;
mod inbox;
mod lock_keeper;
mod management;
mod message;
mod outcome;
#[cfg(test)]
mod peer;
mod property;
mod received_message;
mod receiver;
mod retry;
mod sas;
mod sender;
mod session_keeper;
mod session_receiver;
mod settlement;
mod slot;
mod supply;
mod tls;
mod token;

pub use client::{ClientOptions, ServiceBusClient};
pub use connection_string::{ConnectionString, ConnectionStringError};
pub use error::BusError;
pub use message::Message;
pub use property::PropertyValue;
pub use received_message::{BodyKind, MessageState, ReceivedMessage};
pub use receiver::{ReceiveMode, Receiver, ReceiverOptions, SubQueue};
pub use retry::RetryOptions;
pub use sender::Sender;
pub use session_receiver::{SessionReceiver, SessionReceiverOptions};
pub use settlement::Settlement;
pub use token::{AccessToken, TokenCredential, TokenFuture};
