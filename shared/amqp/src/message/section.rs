//! The sections of a message.

use std::fmt;

use bytes::BytesMut;

use crate::encode::{Encode, put_descriptor};

/// A section, by what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// `header`
    Header,
    /// `delivery-annotations`
    DeliveryAnnotations,
    /// `message-annotations`
    MessageAnnotations,
    /// `properties`
    Properties,
    /// `application-properties`
    ApplicationProperties,
    /// `data`, one of the three forms of a body
    Data,
    /// `amqp-sequence`, one of the three forms of a body
    AmqpSequence,
    /// `amqp-value`, one of the three forms of a body
    AmqpValue,
    /// `footer`
    Footer,
}

impl Section {
    const ALL: [Self; 9] = [
        Self::Header,
        Self::DeliveryAnnotations,
        Self::MessageAnnotations,
        Self::Properties,
        Self::ApplicationProperties,
        Self::Data,
        Self::AmqpSequence,
        Self::AmqpValue,
        Self::Footer,
    ];

    /// The numeric descriptor.
    pub const fn descriptor(self) -> u64 {
        0x70 + self as u64
    }

    /// The symbolic descriptor.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Header => "amqp:header:list",
            Self::DeliveryAnnotations => "amqp:delivery-annotations:map",
            Self::MessageAnnotations => "amqp:message-annotations:map",
            Self::Properties => "amqp:properties:list",
            Self::ApplicationProperties => "amqp:application-properties:map",
            Self::Data => "amqp:data:binary",
            Self::AmqpSequence => "amqp:amqp-sequence:list",
            Self::AmqpValue => "amqp:amqp-value:*",
            Self::Footer => "amqp:footer:map",
        }
    }

    /// The section that has this numeric descriptor.
    pub fn from_descriptor(descriptor: u64) -> Option<Self> {
        let index = usize::try_from(descriptor.checked_sub(0x70)?).ok()?;
        Self::ALL.get(index).copied()
    }

    /// The numeric descriptor of the section that has this symbolic one.
    pub(super) fn descriptor_of(symbol: &str) -> Option<u64> {
        Self::ALL
            .into_iter()
            .find(|section| section.symbol() == symbol)
            .map(Self::descriptor)
    }

    /// Appends a section whose content is given without the descriptor: a map, octets, a value.
    pub fn put<T: Encode + ?Sized>(self, out: &mut BytesMut, content: &T) {
        put_descriptor(out, self.descriptor());
        content.encode(out);
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::DeliveryAnnotations => "delivery-annotations",
            Self::MessageAnnotations => "message-annotations",
            Self::Properties => "properties",
            Self::ApplicationProperties => "application-properties",
            Self::Data => "data",
            Self::AmqpSequence => "amqp-sequence",
            Self::AmqpValue => "amqp-value",
            Self::Footer => "footer",
        })
    }
}
