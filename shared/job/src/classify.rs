//! Is a failure worth another try?

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// What happens to a message after a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disposition {
    /// Another try may succeed: the outside world was not ready.
    Retry,
    /// As [`Disposition::Retry`], not before this span has passed.
    RetryAfter(Duration),
    /// No try will succeed. The text is the short, stable reason of the dead letter.
    DeadLetter(&'static str),
}

/// An error that knows whether the same call may succeed later.
pub trait Classify {
    /// What should happen to the message whose work failed with this error.
    fn disposition(&self) -> Disposition;
}

/// Why a function failed.
#[derive(Debug)]
pub struct JobError {
    disposition: Disposition,
    is_unknown: bool,
    source: Box<dyn Error + Send + Sync>,
}

impl JobError {
    /// What happens to the message.
    pub fn disposition(&self) -> &Disposition {
        &self.disposition
    }

    /// The database's error that this one goes back to, if there is one.
    pub fn database_error(&self) -> Option<&sqlx::Error> {
        let mut cause: Option<&(dyn Error + 'static)> = Some(self.source.as_ref());
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            cause = error.source();
        }
        None
    }

    /// The same failure, but one after which nobody knows whether the other side has acted, such as
    /// an answer that did not come. It counts for [`crate::ExternalFunction::call`] only.
    #[must_use]
    pub fn outcome_unknown(self) -> Self {
        Self {
            is_unknown: true,
            ..self
        }
    }

    /// Whether it is unknown whether the other side has acted.
    pub fn is_unknown(&self) -> bool {
        self.is_unknown
    }

    /// The same failure, but one that no other try will change, for `reason`.
    #[must_use]
    pub fn permanent(self, reason: &'static str) -> Self {
        Self {
            disposition: Disposition::DeadLetter(reason),
            ..self
        }
    }
}

impl<E: Classify + Error + Send + Sync + 'static> From<E> for JobError {
    fn from(error: E) -> Self {
        Self {
            disposition: error.disposition(),
            is_unknown: false,
            source: Box::new(error),
        }
    }
}

/// The whole chain of causes on one line.
impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        let mut cause = self.source.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Classes of `SQLSTATE` whose failure lies in the values at hand, so that repeating the statement
/// cannot help: data exception (22) and integrity constraint violation (23). Everything else passes
/// when a connection, a lock, a privilege or a migration comes. `PostgreSQL` manual, appendix A.
const PERMANENT_SQLSTATE_CLASSES: [&str; 2] = ["22", "23"];

impl Classify for sqlx::Error {
    fn disposition(&self) -> Disposition {
        let class = match self {
            Self::Database(error) => error.code(),
            Self::RowNotFound | Self::ColumnDecode { .. } | Self::Decode(_) | Self::Encode(_) => {
                return Disposition::DeadLetter("database-mismatch");
            }
            _ => None,
        };
        match class {
            Some(code)
                if PERMANENT_SQLSTATE_CLASSES
                    .iter()
                    .any(|class| code.starts_with(class)) =>
            {
                Disposition::DeadLetter("database-refused")
            }
            _ => Disposition::Retry,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the outer failure")]
    struct Outer(#[source] std::io::Error);

    impl Classify for Outer {
        fn disposition(&self) -> Disposition {
            Disposition::Retry
        }
    }

    #[test]
    fn an_error_keeps_its_chain_and_can_be_made_permanent() {
        let error = JobError::from(Outer(std::io::Error::other("the inner cause")));
        assert_eq!(error.to_string(), "the outer failure: the inner cause");
        assert_eq!(error.disposition(), &Disposition::Retry);
        assert_eq!(
            error.permanent("gone").disposition(),
            &Disposition::DeadLetter("gone")
        );
    }

    #[test]
    fn a_lost_connection_passes_and_a_missing_row_does_not() {
        assert_eq!(sqlx::Error::PoolTimedOut.disposition(), Disposition::Retry);
        assert_eq!(
            sqlx::Error::RowNotFound.disposition(),
            Disposition::DeadLetter("database-mismatch")
        );
    }
}
