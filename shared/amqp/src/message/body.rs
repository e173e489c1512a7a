//! The body: data sections, sequences, or one value.

use bytes::{Bytes, BytesMut};

use super::{MessageError, Section};
use crate::decode::Decoder;
use crate::decode_error::DecodeError;
use crate::encode::{Encode, put_list};
use crate::field::Decode;
use crate::value::Value;

/// The content of a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Body {
    /// No body section. The specification wants one, yet Service Bus takes messages without.
    #[default]
    Empty,
    /// Octets, in one or several data sections.
    Data(Vec<Bytes>),
    /// Lists, in one or several sequence sections.
    Sequence(Vec<Vec<Value>>),
    /// One value.
    Value(Value),
}

impl Body {
    /// One data section.
    pub fn data(octets: impl Into<Bytes>) -> Self {
        Self::Data(vec![octets.into()])
    }

    /// Decodes the body sections of a message.
    pub(super) fn decode_sections(mut decoder: Decoder<'_>) -> Result<Self, MessageError> {
        let mut body = Self::Empty;
        while decoder.remaining() > 0 {
            let descriptor = decoder
                .descriptor("a body section", Section::descriptor_of)
                .map_err(MessageError::Malformed)?;
            let section = Section::from_descriptor(descriptor)
                .ok_or(MessageError::UnknownSection { descriptor })?;
            let failed = |source| MessageError::MalformedSection { section, source };
            decoder.charge(1).map_err(failed)?;
            match (section, &mut body) {
                (Section::Data, Self::Data(parts)) => {
                    parts.push(Bytes::decode(&mut decoder).map_err(failed)?);
                }
                (Section::Data, Self::Empty) => {
                    body = Self::data(Bytes::decode(&mut decoder).map_err(failed)?);
                }
                (Section::AmqpSequence, Self::Sequence(parts)) => {
                    parts.push(sequence(&mut decoder).map_err(failed)?);
                }
                (Section::AmqpSequence, Self::Empty) => {
                    body = Self::Sequence(vec![sequence(&mut decoder).map_err(failed)?]);
                }
                (Section::AmqpValue, Self::Empty) => {
                    body = Self::Value(Value::decode(&mut decoder).map_err(failed)?);
                }
                _ => return Err(MessageError::SectionOrder { section }),
            }
        }
        Ok(body)
    }
}

fn sequence(decoder: &mut Decoder<'_>) -> Result<Vec<Value>, DecodeError> {
    match Value::decode(decoder)? {
        Value::List(items) => Ok(items),
        _ => Err(decoder.malformed("list")),
    }
}

impl Encode for Body {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Empty => {}
            Self::Data(parts) => {
                for part in parts {
                    Section::Data.put(out, part);
                }
            }
            Self::Sequence(parts) => {
                for part in parts {
                    crate::encode::put_descriptor(out, Section::AmqpSequence.descriptor());
                    put_list(out, part);
                }
            }
            Self::Value(value) => Section::AmqpValue.put(out, value),
        }
    }
}
