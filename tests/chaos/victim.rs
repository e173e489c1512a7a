//! Who is killed.

use std::fmt;

use rand::Rng;

/// A process that dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// Its host starts it again.
    Handler,
    /// Its handler dies with it.
    Host,
    /// It keeps its messages.
    Broker,
    /// It keeps what was committed.
    Postgres,
}

impl Victim {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Handler, Self::Host, Self::Broker, Self::Postgres];

    /// Whoever is drawn. Handlers die most often in life, and databases least.
    pub(crate) fn draw(random: &mut impl Rng) -> Self {
        match random.random_range(0..10) {
            0..4 => Self::Handler,
            4..7 => Self::Host,
            7..9 => Self::Broker,
            _ => Self::Postgres,
        }
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Handler => "handler",
            Self::Host => "host",
            Self::Broker => "broker",
            Self::Postgres => "postgres",
        })
    }
}
