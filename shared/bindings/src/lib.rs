//! The files and the wire between the Functions host and a handler.
//!
//! An app is a `host.json` plus one folder per function with a `function.json`; an invocation is
//! one HTTP `POST` from the host to the handler process. This crate reads the former
//! ([`host_json`], [`function_json`], [`local_settings`]) and speaks both sides of the latter ([`invocation`]). It
//! does no I/O of its own: texts and bytes in, typed values and exact errors out, so the host, the
//! handler and the checks of the command line all judge a file in the same way.

mod document;
pub mod function_json;
pub mod host_json;
pub mod invocation;
pub mod layout;
pub mod local_settings;
pub mod problem;
mod reader;
pub mod retry;
pub mod route;
pub mod substitution;
pub mod time_span;

pub use document::MAX_FILE_BYTES;
