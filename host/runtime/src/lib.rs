//! A host for Azure Functions custom handlers that runs anywhere: on a laptop, in a container.
//!
//! It reads the same `host.json` and `<function>/function.json` as the real host, starts the
//! handler process, receives Service Bus messages in peek-lock, `POST`s invocations to the handler
//! and completes or abandons the messages by its answer. It answers HTTP requests with what the
//! handler makes of them, and runs timers, of which each has one host at a time. It holds no state
//! of its own but when timers ran: what it has received and not settled goes back to the broker
//! when it dies.
//!
//! # Two modes
//!
//! The wire to the handler is the real host's in both. `strict` reproduces its behaviour around
//! the wire, too, quirks included, to test handlers against it. `default` is what one would want:
//!
//! | | `strict` | `default` |
//! |---|---|---|
//! | batches in flight of a function | 1 | 2 |
//! | handler exits with an error | restarted at once; the third error less than 30 minutes after its predecessor stops the host | restarted at once, then with growing pauses (0.2 s doubling to 10 s) until it has run for 30 s |
//! | handler exits with code 0 | no notice is taken; calls go to whatever listens on its port | restarted like after an error |
//! | handler exits with code 200 | restarted at once, not an error | the same, with pauses |
//! | `functionTimeout` | kills the handler, with all its calls | cancels that call: its connection is closed |
//! | stop | `SIGKILL` | `SIGTERM`, then `SIGKILL` after 5 s |
//! | extra request headers | none | `x-nightshift-deadline`, `x-nightshift-locked-until`, `x-nightshift-due`, the caller's `traceparent` |
//! | body that is an AMQP value or sequence | fails its invocation | dead-lettered alone |
//! | answer | read whole | at most 16 MiB in an envelope, any length when forwarded |
//! | answer that is empty or `null` | waited for until `functionTimeout` | fails its invocation |
//! | redirect in an envelope | followed | fails its invocation |
//! | invocation while the handler starts | waits; after four times `initializationTimeout` the host stops | requests and timers wait 30 s |
//! | the handler's port | drawn once | drawn at every start |
//! | the handler's output | becomes log entries with levels | passed on as it is |
//! | HTTP caller that goes away | its call goes on | its call is cancelled |
//! | `enableForwardingHttpRequest` | holds request and answer whole, loses bodies without a length | streams |
//! | a failed invocation's messages | abandoned at once | given back after a pause (0.1 s doubling to 1 s, over with the next success); a failed delivery counts unless the handler answered 503 or was not called |
//! | a message that has failed three times | in a batch as before | in an invocation of its own |
//!
//! In both modes an answer outside 2xx and one that is no JSON object fail the invocation. Messages
//! are received only while the handler answers: during a restart nothing is fetched, and what was
//! fetched ahead goes back without counting as delivered.
//! The lock of a single message is renewed while it is worked on, up to `maxAutoLockRenewalDuration`;
//! those of a batch are not, so its invocation should end before they do.

pub mod app;
mod call;
mod gate;
mod handler;
mod host;
mod http;
mod listener;
mod monitor;
mod output;
mod port;
mod stats;
mod timer;

pub use app::{HostConfig, HostProblems, Mode};
pub use host::{Host, HostError, HostExit, NotReady};
pub use port::free_port;
pub use stats::{FunctionStats, HandlerStats, HostStats};
