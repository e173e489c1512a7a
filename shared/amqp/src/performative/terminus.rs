//! Sources and targets (part 3, section 3.5), and the transaction coordinator in a target's place.

use bytes::BytesMut;

use crate::composite::composite;
use crate::decode::Decoder;
use crate::decode_error::DecodeError;
use crate::encode::Encode;
use crate::field::Decode;
use crate::value::{Map, Symbol, Value};

composite! {
    /// Where a link's messages come from.
    struct Source (0x28, "amqp:source:list") {
        /// The address of the node.
        optional address: String,
        /// What of the source outlives the link: 0 nothing, 1 its configuration, 2 its state too.
        or_default durable: u32 = 0,
        /// From when on the source may expire.
        optional expiry_policy: Symbol,
        /// Seconds from then until it does.
        or_default timeout: u32 = 0,
        /// Whether the peer is asked to create the node.
        or_default dynamic: bool = false,
        /// Properties of the node to create.
        optional dynamic_node_properties: Map,
        /// `move` or `copy`.
        optional distribution_mode: Symbol,
        /// Filters by name.
        optional filter: Map,
        /// The outcome of what is not settled otherwise; any outcome, kept undecoded.
        optional default_outcome: Value,
        /// Outcomes the link may use.
        optional outcomes: Vec<Symbol>,
        /// Extensions of the node.
        optional capabilities: Vec<Symbol>,
    }

    /// Where a link's messages go to.
    struct Target (0x29, "amqp:target:list") {
        /// The address of the node.
        optional address: String,
        /// What of the target outlives the link: 0 nothing, 1 its configuration, 2 its state too.
        or_default durable: u32 = 0,
        /// From when on the target may expire.
        optional expiry_policy: Symbol,
        /// Seconds from then until it does.
        or_default timeout: u32 = 0,
        /// Whether the peer is asked to create the node.
        or_default dynamic: bool = false,
        /// Properties of the node to create.
        optional dynamic_node_properties: Map,
        /// Extensions of the node.
        optional capabilities: Vec<Symbol>,
    }

    /// The transaction coordinator (part 4, section 4.5.1) in the place of a target.
    struct Coordinator (0x30, "amqp:coordinator:list") {
        /// What transactions can do.
        optional capabilities: Vec<Symbol>,
    }
}

impl Source {
    /// A source with an address and nothing else.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: Some(address.into()),
            ..Self::anonymous()
        }
    }

    /// A source without an address.
    pub fn anonymous() -> Self {
        Self {
            address: None,
            durable: 0,
            expiry_policy: None,
            timeout: 0,
            dynamic: false,
            dynamic_node_properties: None,
            distribution_mode: None,
            filter: None,
            default_outcome: None,
            outcomes: None,
            capabilities: None,
        }
    }
}

impl Target {
    /// A target with an address and nothing else.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: Some(address.into()),
            ..Self::anonymous()
        }
    }

    /// A target without an address.
    pub fn anonymous() -> Self {
        Self {
            address: None,
            durable: 0,
            expiry_policy: None,
            timeout: 0,
            dynamic: false,
            dynamic_node_properties: None,
            capabilities: None,
        }
    }
}

/// What an attach may name as its target.
#[derive(Clone, Debug, PartialEq)]
pub enum AttachTarget {
    /// A node.
    Target(Target),
    /// The transaction coordinator.
    Coordinator(Coordinator),
}

impl From<Target> for AttachTarget {
    fn from(target: Target) -> Self {
        Self::Target(target)
    }
}

impl Encode for AttachTarget {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Target(target) => target.encode(out),
            Self::Coordinator(coordinator) => coordinator.encode(out),
        }
    }
}

impl Decode for AttachTarget {
    const EXPECTED: &'static str = "a target or a coordinator";

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let descriptor = decoder.descriptor(Self::EXPECTED, |symbol| match symbol {
            Target::SYMBOL => Some(Target::DESCRIPTOR),
            Coordinator::SYMBOL => Some(Coordinator::DESCRIPTOR),
            _ => None,
        })?;
        match descriptor {
            Target::DESCRIPTOR => Target::decode_fields(decoder).map(Self::Target),
            Coordinator::DESCRIPTOR => Coordinator::decode_fields(decoder).map(Self::Coordinator),
            descriptor => Err(DecodeError::UnexpectedDescriptor {
                expected: Self::EXPECTED,
                descriptor,
            }),
        }
    }
}
