//! The Functions-compatible host against our broker and a scripted handler.
//!
//! The handler is a Python program of the standard library only, so that nothing of our own
//! handler library can hide a fault of the host. What the host refuses at start, and how it treats
//! a handler that crashes or never listens, is tested beside its code.

mod admin;
mod failures;
mod fixture;
mod flow;
mod fuzz;
mod http;
pub(crate) mod http_client;
mod identity;
mod keys;
mod lifecycle;
mod outputs;
mod sessions;
mod several;
mod timer;
mod wire;
