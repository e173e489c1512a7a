//! The custom-handler contract: what a handler may rely on under the Azure Functions host, each
//! statement with a test of its own, against this host in `strict` mode.
//!
//! The handler is a server inside the test (`wire`), so that what the host sends is judged by its
//! bytes and not by a decoder of ours. The statements follow the real host's behaviour, in order:
//!
//! - `request`: one `POST` of JSON for each invocation, to the function's name, chunked, on a
//!   connection that is kept, with three headers of the host's own; redirects are followed, cookies
//!   forgotten, answers of any size taken.
//! - `encoding`: bytes in base64, times without fraction, objects inline, everything else as JSON
//!   in a JSON string; what the metadata leave out, and what a body adds to them.
//! - `service_bus`: how a message's body is bound, the names of its metadata, and both for a batch.
//! - `timer`: the tick, its times and its flags.
//! - `envelope`: an HTTP request as an object.
//! - `forwarding`, `proxying`: an HTTP request as it is.
//! - `response`, `outputs`: what counts as an answer, logs, the return value and outputs, what an HTTP
//!   caller gets of them, and what is sent.
//! - `lifecycle`: one process, its environment, readiness, errors, restarts, time-outs, its end.
//!
//! Three things more are not statements: `differences` holds what this host deliberately does
//! otherwise, as the table in `docs/HOST.md` says; `strangers` runs handlers that were written
//! for the real host by somebody else's rules; `bad_handlers` runs those that do everything wrong.
//!
//! Where nothing can be seen from outside there is no test: the time limit of the host's HTTP client
//! lies a minute beyond `functionTimeout`; the host's ping of a handler's health has no
//! consequence; neither a flag nor a `null` can be the value of a binding of the kinds above.
//! What takes long is tested beside the code: that half an hour forgives errors (`handler::policy`),
//! and that a proxied call which stands still for four minutes is given up (`http::body`).

mod bad_handlers;
mod differences;
mod encoding;
mod envelope;
mod forwarding;
mod lifecycle;
mod outputs;
mod process;
mod proxying;
mod request;
mod response;
mod service_bus;
mod strangers;
mod timer;
mod wire;
mod world;
