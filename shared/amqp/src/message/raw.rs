//! An encoded message, cut at its section borders.

use std::ops::Range;

use bytes::Bytes;

use super::{Body, Header, Message, MessageError, Properties, Section};
use crate::decode::Decoder;
use crate::field::Decode;
use crate::value::{EncodedValue, Map};

/// An encoded message whose sections have been found but not decoded. Shares the octets.
#[derive(Clone, Debug)]
pub struct RawMessage {
    octets: Bytes,
    /// Where the parts begin, in the order of the wire: header, delivery-annotations,
    /// message-annotations, properties, application-properties, body, footer; then the end.
    /// An absent part begins where the next one does.
    marks: [u32; 8],
}

/// The index of a section's mark: the three forms of a body share one.
const fn part_of(section: Section) -> usize {
    match section {
        Section::Header => 0,
        Section::DeliveryAnnotations => 1,
        Section::MessageAnnotations => 2,
        Section::Properties => 3,
        Section::ApplicationProperties => 4,
        Section::Data | Section::AmqpSequence | Section::AmqpValue => BODY,
        Section::Footer => FOOTER,
    }
}

const PROPERTIES: usize = 3;
const BODY: usize = 5;
const FOOTER: usize = 6;

impl RawMessage {
    /// Finds the sections. What is inside them is not looked at.
    pub fn split(octets: Bytes) -> Result<Self, MessageError> {
        let size = octets.len();
        let end = u32::try_from(size).map_err(|_| MessageError::TooLong { size })?;
        let mut marks = [end; 8];
        let mut decoder = Decoder::new(&octets);
        let mut body = None;
        // The first part that may still come.
        let mut next = 0;
        while decoder.remaining() > 0 {
            let start = u32::try_from(decoder.position()).unwrap_or(end);
            let descriptor = decoder
                .descriptor("a message section", Section::descriptor_of)
                .map_err(MessageError::Malformed)?;
            let section = Section::from_descriptor(descriptor)
                .ok_or(MessageError::UnknownSection { descriptor })?;
            decoder
                .skip()
                .map_err(|source| MessageError::MalformedSection { section, source })?;
            let part = part_of(section);
            if part == BODY {
                // Data and sequence sections may be repeated, but not mixed.
                let repeats = body == Some(section) && section != Section::AmqpValue;
                if next > BODY && !(next == FOOTER && repeats) {
                    return Err(MessageError::SectionOrder { section });
                }
                if body.is_none() {
                    marks[next..=BODY].fill(start);
                }
                body = Some(section);
                next = FOOTER;
            } else {
                if part < next {
                    return Err(MessageError::SectionOrder { section });
                }
                marks[next..=part].fill(start);
                next = part + 1;
            }
        }
        Ok(Self { octets, marks })
    }

    #[inline]
    fn extent(&self, first: usize, end: usize) -> Option<Range<usize>> {
        let (start, end) = (self.marks[first] as usize, self.marks[end] as usize);
        (start < end).then_some(start..end)
    }

    fn part(&self, first: usize, end: usize) -> Option<Bytes> {
        self.extent(first, end)
            .map(|extent| self.octets.slice(extent))
    }

    /// Reads a section, if there is one.
    #[inline]
    fn section(&self, section: Section) -> Option<Decoder<'_>> {
        let part = part_of(section);
        let extent = self.extent(part, part + 1)?;
        Some(Decoder::within(&self.octets, extent))
    }

    /// The bare message: properties, application-properties and body, as they came.
    pub fn bare(&self) -> Bytes {
        self.part(PROPERTIES, FOOTER).unwrap_or_default()
    }

    /// The bare message and the footer: all that an intermediary passes on untouched.
    pub fn bare_and_footer(&self) -> Bytes {
        self.part(PROPERTIES, FOOTER + 1).unwrap_or_default()
    }

    /// The bare message and the footer without the properties section, for whoever rewrites that.
    pub fn after_properties(&self) -> Bytes {
        self.part(PROPERTIES + 1, FOOTER + 1).unwrap_or_default()
    }

    /// The body sections, encoded.
    pub fn encoded_body(&self) -> Bytes {
        self.part(BODY, FOOTER).unwrap_or_default()
    }

    /// Decodes the header.
    #[inline]
    pub fn header(&self) -> Result<Option<Header>, MessageError> {
        self.composite(Section::Header)
    }

    /// Decodes the properties.
    #[inline]
    pub fn properties(&self) -> Result<Option<Properties>, MessageError> {
        self.composite(Section::Properties)
    }

    /// Decodes the delivery annotations.
    pub fn delivery_annotations(&self) -> Result<Option<Map>, MessageError> {
        self.map(Section::DeliveryAnnotations)
    }

    /// Hands every message annotation to `visit`, in the order of the wire. For those who read few
    /// of them and keep none, this costs no memory.
    pub fn visit_message_annotations(
        &self,
        visit: impl FnMut(&str, EncodedValue<'_>),
    ) -> Result<(), MessageError> {
        let section = Section::MessageAnnotations;
        let Some(mut decoder) = self.section(section) else {
            return Ok(());
        };
        decoder
            .descriptor("a message section", Section::descriptor_of)
            .and_then(|_| decoder.visit_map(visit))
            .and_then(|()| decoder.finish())
            .map_err(|source| MessageError::MalformedSection { section, source })
    }

    /// Decodes the message annotations.
    pub fn message_annotations(&self) -> Result<Option<Map>, MessageError> {
        self.map(Section::MessageAnnotations)
    }

    /// Decodes the application properties.
    pub fn application_properties(&self) -> Result<Option<Map>, MessageError> {
        self.map(Section::ApplicationProperties)
    }

    /// Decodes the footer.
    pub fn footer(&self) -> Result<Option<Map>, MessageError> {
        self.map(Section::Footer)
    }

    /// Decodes the body.
    pub fn body(&self) -> Result<Body, MessageError> {
        match self.extent(BODY, FOOTER) {
            Some(extent) => Body::decode_sections(Decoder::within(&self.octets, extent)),
            None => Ok(Body::Empty),
        }
    }

    /// The octets of a body that is one data section, as most are; `None` for any other.
    #[inline]
    pub fn data(&self) -> Option<Bytes> {
        let mut decoder = Decoder::within(&self.octets, self.extent(BODY, FOOTER)?);
        let descriptor = decoder.descriptor("a body section", Section::descriptor_of);
        let is_data = descriptor.is_ok_and(|descriptor| descriptor == Section::Data.descriptor());
        let octets = is_data
            .then(|| Bytes::decode(&mut decoder).ok())
            .flatten()?;
        decoder.finish().is_ok().then_some(octets)
    }

    /// Decodes everything.
    pub fn decode(&self) -> Result<Message, MessageError> {
        Ok(Message {
            header: self.header()?,
            delivery_annotations: self.delivery_annotations()?,
            message_annotations: self.message_annotations()?,
            properties: self.properties()?,
            application_properties: self.application_properties()?,
            body: self.body()?,
            footer: self.footer()?,
        })
    }

    #[inline]
    fn composite<T: Decode>(&self, section: Section) -> Result<Option<T>, MessageError> {
        let Some(mut decoder) = self.section(section) else {
            return Ok(None);
        };
        T::decode(&mut decoder)
            .and_then(|value| decoder.finish().map(|()| Some(value)))
            .map_err(|source| MessageError::MalformedSection { section, source })
    }

    fn map(&self, section: Section) -> Result<Option<Map>, MessageError> {
        let Some(mut decoder) = self.section(section) else {
            return Ok(None);
        };
        decoder
            .descriptor("a message section", Section::descriptor_of)
            .and_then(|_| {
                // Null stands for an absent map in some senders.
                let map = if decoder.null()? {
                    Map::new()
                } else {
                    Map::decode(&mut decoder)?
                };
                decoder.finish()?;
                Ok(Some(map))
            })
            .map_err(|source| MessageError::MalformedSection { section, source })
    }
}
