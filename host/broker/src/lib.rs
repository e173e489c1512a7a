//! A Service-Bus-compatible AMQP 1.0 broker for development, tests and small single-machine
//! deployments.
//!
//! Microsoft's SDKs and our own client talk to it without noticing that it is not the service. It
//! is one process on one machine, keeping its messages in memory and, if asked to, in a journal on
//! the disk; beyond that, change the connection string.
//!
//! How a message travels: a [`connection`] task reads bytes into its protocol engine, turns what it
//! finds into submissions, and hands all that one read brought to the [`entity`] in one go; the
//! [`queue`] inside is a pure state machine behind one mutex. Receivers wait in line at the queue
//! and are woken through their connection's doorbell; they then take what their credit, the peer's
//! window and the output buffer allow. Nothing is locked for a receiver before it can be written,
//! no lock is held across an await, and a slow client slows down only itself.

mod address;
mod auth;
mod broker;
mod config;
mod config_file;
mod connection;
mod entity;
mod error;
mod forwarding;
mod journal;
mod queue;
mod store;
mod timekeeper;
mod usage;

pub use broker::Broker;
pub use config::{AccessKey, BrokerConfig, Limits, QueueConfig, QueueStatus};
pub use config_file::{ConfigFile, ConfigFileError};
pub use error::BrokerError;
pub use journal::JournalError;
pub use queue::QueueCounts;
