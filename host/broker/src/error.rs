//! What can keep a broker from starting. Once it runs, a client's mistakes are answered on that
//! client's connection and never surface here.

use std::net::SocketAddr;

use crate::journal::JournalError;

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// Anyone on the network could read and write every queue.
    #[error(
        "listening on {listen} would let anyone on the network use the broker; \
         set an access key, or listen on a loopback address such as 127.0.0.1:5672"
    )]
    KeyRequired {
        /// The refused address.
        listen: SocketAddr,
    },
    /// A broker without queues serves nobody.
    #[error("no queue is configured; name at least one")]
    NoQueues,
    /// A queue's settings contradict the protocol or each other.
    #[error("queue {name:?} {problem}")]
    InvalidQueue {
        /// The queue's name as given.
        name: String,
        /// What is wrong, as the rest of the sentence.
        problem: &'static str,
    },
    /// A queue forwards to nowhere.
    #[error("queue {name:?} forwards to {target:?}, which is not configured")]
    UnknownForwardTarget {
        /// The queue that forwards.
        name: String,
        /// The target as given.
        target: String,
    },
    /// A message that fails everywhere would be forwarded for ever.
    #[error("messages would be forwarded in a circle: {path}")]
    ForwardCircle {
        /// The names of the queues, the first one again at the end.
        path: String,
    },
    /// The journal cannot be read or written.
    #[error("the journal of the broker cannot be used")]
    Journal(#[source] std::sync::Arc<JournalError>),
    /// The address could not be taken.
    #[error("could not listen on {listen}; is another broker running there?")]
    Listen {
        /// The address that was asked for.
        listen: SocketAddr,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

impl From<JournalError> for BrokerError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error.into())
    }
}
