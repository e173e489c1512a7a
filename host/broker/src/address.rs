//! What a client means by an address.
//!
//! Clients name the same queue in different ways: `orders`, `/orders`, `ORDERS`, and whole URLs
//! such as `amqps://localhost:5672/orders` or `sb://localhost/orders` (the scheme says nothing
//! about the transport). The authority is not looked at: a client that got here has the right one.

use percent_encoding::percent_decode_str;

use crate::queue::SubQueue;

/// Where a link leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// The node that takes tokens.
    Cbs,
    /// A queue or its dead letters.
    Entity(EntityAddress),
    /// The node that answers management requests about a queue.
    Management(EntityAddress),
}

/// A queue and the half of it that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntityAddress {
    /// The path in lower case.
    pub(crate) path: String,
    pub(crate) sub_queue: SubQueue,
}

impl Address {
    /// Reads an address as clients write it. Any text is an address; whether something lives there
    /// is another question.
    pub(crate) fn parse(text: &str) -> Self {
        let path = path(text);
        if path == "$cbs" {
            return Self::Cbs;
        }
        match strip(&path, "$management") {
            Some(entity) => Self::Management(EntityAddress::of(entity)),
            None => Self::Entity(EntityAddress::of(&path)),
        }
    }
}

impl EntityAddress {
    fn of(path: &str) -> Self {
        match strip(path, "$deadletterqueue") {
            Some(path) => Self {
                path: path.to_owned(),
                sub_queue: SubQueue::DeadLetter,
            },
            None => Self {
                path: path.to_owned(),
                sub_queue: SubQueue::Active,
            },
        }
    }
}

/// The path of an address in lower case, without scheme, authority and surrounding slashes.
pub(crate) fn path(text: &str) -> String {
    let path = match text.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => text,
    };
    let path = percent_decode_str(path.trim_matches('/')).decode_utf8_lossy();
    path.to_lowercase()
}

fn strip<'a>(path: &'a str, last: &str) -> Option<&'a str> {
    path.strip_suffix(last)?.strip_suffix('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(path: &str, sub_queue: SubQueue) -> EntityAddress {
        EntityAddress {
            path: path.into(),
            sub_queue,
        }
    }

    #[test]
    fn the_same_queue_has_many_names() {
        let orders = Address::Entity(entity("orders", SubQueue::Active));
        for text in [
            "orders",
            "/orders",
            "Orders",
            "amqps://host:5672/orders",
            "sb://h/ORDERS/",
        ] {
            assert_eq!(Address::parse(text), orders, "{text}");
        }
        assert_eq!(
            Address::parse("amqp://host"),
            Address::Entity(entity("", SubQueue::Active))
        );
    }

    #[test]
    fn nodes_of_a_queue_are_told_from_the_queue() {
        assert_eq!(Address::parse("$cbs"), Address::Cbs);
        assert_eq!(Address::parse("amqp://host/$cbs"), Address::Cbs);
        let dead = entity("a/b", SubQueue::DeadLetter);
        assert_eq!(
            Address::parse("a/b/$DeadLetterQueue"),
            Address::Entity(dead.clone())
        );
        assert_eq!(
            Address::parse("A/b/$deadletterqueue/$management"),
            Address::Management(dead)
        );
        let q = entity("q", SubQueue::Active);
        assert_eq!(Address::parse("q/$management"), Address::Management(q));
    }

    #[test]
    fn a_percent_sign_that_encodes_nothing_is_a_percent_sign() {
        assert_eq!(path("a%2Fb%zz"), "a/b%zz");
    }
}
