//! What an application decides about a message that it received.

use std::collections::BTreeMap;

use nightshift_amqp::{Map, Symbol};

use crate::error::BusError;
use crate::outcome::Outcome;
use crate::property::PropertyValue;

/// The longest reason and description of a dead letter, in characters.
const LONGEST_TEXT: usize = 4096;

/// A decision about a received message, with changes to the application properties that it has
/// when it is delivered the next time.
///
/// ```
/// use nightshift_bus::Settlement;
///
/// let again = Settlement::abandon().with_property("tried-by", "worker-7");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    decision: Decision,
    properties: BTreeMap<String, PropertyValue>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    Complete,
    Abandon,
    Release,
    Defer,
    DeadLetter { reason: String, description: String },
}

impl Settlement {
    /// Done: the broker removes the message.
    pub fn complete() -> Self {
        Decision::Complete.into()
    }

    /// Failed: the message is delivered again at once, with a higher delivery count, or
    /// dead-lettered when that count reaches the entity's maximum.
    pub fn abandon() -> Self {
        Decision::Abandon.into()
    }

    /// Not worked on: the message is available again at once (delivery state `released`). A broker
    /// that honours the state does not count the delivery as failed; the Azure service treats it
    /// as an abandon and counts it.
    pub fn release() -> Self {
        Decision::Release.into()
    }

    /// Not now: the message is put aside and received again only by its sequence number.
    pub fn defer() -> Self {
        Decision::Defer.into()
    }

    /// Hopeless: the message goes to the dead-letter queue. Reason and description become the
    /// application properties `DeadLetterReason` and `DeadLetterErrorDescription`, cut to the
    /// 4,096 characters that the service allows.
    pub fn dead_letter(reason: &str, description: &str) -> Self {
        let cut = |text: &str| text.chars().take(LONGEST_TEXT).collect();
        Self::from(Decision::DeadLetter {
            reason: cut(reason),
            description: cut(description),
        })
    }

    /// Sets an application property of the message, adding it if need be. A message that is
    /// completed or released takes none: settling fails with [`BusError::InvalidArgument`] then.
    #[must_use]
    pub fn with_property(
        mut self,
        name: impl Into<String>,
        value: impl Into<PropertyValue>,
    ) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    /// As the wire has it.
    pub(crate) fn into_outcome(self) -> Result<Outcome, BusError> {
        let properties = wire_properties(&self.properties)?;
        let refused = |what| {
            let text = format!("a message that is {what} takes no changes to its properties");
            Err(BusError::InvalidArgument(text))
        };
        Ok(match self.decision {
            Decision::Complete if !properties.is_empty() => return refused("completed"),
            Decision::Release if !properties.is_empty() => return refused("released"),
            Decision::Complete => Outcome::Complete,
            Decision::Release => Outcome::Release,
            Decision::Abandon => Outcome::Abandon { properties },
            Decision::Defer => Outcome::Defer { properties },
            Decision::DeadLetter {
                reason,
                description,
            } => Outcome::DeadLetter {
                reason,
                description,
                properties,
            },
        })
    }
}

impl From<Decision> for Settlement {
    fn from(decision: Decision) -> Self {
        Self {
            decision,
            properties: BTreeMap::new(),
        }
    }
}

fn wire_properties(properties: &BTreeMap<String, PropertyValue>) -> Result<Map, BusError> {
    let mut map = Map::new();
    for (name, value) in properties {
        let Some(value) = value.to_wire() else {
            return Err(BusError::InvalidArgument(format!(
                "the application property `{name}` has a type that cannot be sent"
            )));
        };
        map.insert(Symbol::from(name.clone()), value);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_takes_properties() {
        let change = |settlement: Settlement| settlement.with_property("p", 1).into_outcome();
        for settlement in [Settlement::complete(), Settlement::release()] {
            let error = change(settlement).unwrap_err();
            assert!(matches!(error, BusError::InvalidArgument(_)), "{error}");
        }
        let Ok(Outcome::Defer { properties }) = change(Settlement::defer()) else {
            panic!("a deferred message keeps its properties");
        };
        assert_eq!(
            properties.get("p").and_then(nightshift_amqp::Value::as_i64),
            Some(1)
        );
        let unsendable = PropertyValue::Other("list".to_owned());
        let error = Settlement::abandon().with_property("p", unsendable);
        assert!(error.into_outcome().is_err());
    }

    #[test]
    fn texts_of_dead_letters_are_cut_by_characters() {
        let long = "ß".repeat(5_000);
        let Ok(Outcome::DeadLetter { reason, .. }) =
            Settlement::dead_letter(&long, "").into_outcome()
        else {
            panic!("a dead letter has a reason");
        };
        assert_eq!(reason.chars().count(), LONGEST_TEXT);
    }
}
