//! The custom-handler process: the side of the Functions host's wire on which the work is done.
//!
//! The host starts this process, waits until it answers on `127.0.0.1` and then posts one request
//! per invocation to `/<function name>`. [`Handler::serve`] binds at once and connects to nothing until it
//! must. A request becomes messages ([`nightshift_bindings::invocation`]), messages become
//! members with a key and a decoded payload (`member`), and members become transactions that hold claim,
//! effect and outcome (`runner`, `work`), whatever the function's shape (`shape`); what is to keep to a
//! rate gets its slots first (`rate`). How each ends is
//! decided in `fate`. What waits for another try comes
//! back as a copy (`copy`), which the outbox sends after the commit (`outbox`); what the
//! broker refuses for good is dead (`refused`). What
//! the broker has given up is taken back (`drain`). A timer's invocation is a look at what its schedule
//! says (`schedule`), and how a tick ends is told to those who watch from outside (`ping`). HTTP requests come as they are (`http`); what operators ask of functions is in `ops` and `cancel`. The answer says "fine" only after
//! the commit; whatever happens before, the broker delivers again and the claim sorts it out.
//!
//! The process is crash-only: hosts end it with SIGKILL, so nothing depends on its last words. It
//! never exits with code 0, which the real host takes for "done, do not restart".

mod call;
mod cancel;
mod copy;
mod drain;
mod fate;
mod http;
mod member;
mod ops;
mod outbox;
mod ping;
mod rate;
mod refused;
mod registry;
mod runner;
mod schedule;
mod server;
mod settings;
mod shape;
mod shutdown;
mod span;
mod work;

pub use call::{Call, InvocationFailed};
pub use cancel::{CancelFailed, Cancelled};
pub use http::HttpFunction;
pub use nightshift_bindings::route::RouteValues;
pub use ops::{AskFailed, Described, Places, Trigger};
pub use outbox::Outbox;
pub use ping::PingSettings;
pub use registry::{Registry, RegistryError};
pub use server::{Handler, ServeError};
pub use settings::HandlerSettings;
pub use shutdown::EXIT_CODE_STOPPED;
