//! Messages (part 3, section 3.2): sections in a fixed order.
//!
//! An intermediary must not change the bare message (properties, application-properties, body):
//! signatures and a peer's exact encodings survive only if its octets do. So [`RawMessage`] cuts
//! an encoded message at its section borders without decoding, and whoever needs a section
//! decodes that one. [`Message`] is the typed form, for those who write messages.

mod batch;
mod body;
mod error;
mod header;
mod properties;
mod raw;
mod section;

use bytes::BytesMut;

pub use batch::{BATCH_FORMAT, BatchBuilder, unpack_batch};
pub use body::Body;
pub use error::MessageError;
pub use header::Header;
pub use properties::{MessageId, Properties};
pub use raw::RawMessage;
pub use section::Section;

use crate::encode::Encode;
use crate::value::Map;

/// The message format of one plain message.
pub const MESSAGE_FORMAT: u32 = 0;

/// A message, section by section.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// Delivery details that intermediaries may change.
    pub header: Option<Header>,
    /// Annotations for the next hop only.
    pub delivery_annotations: Option<Map>,
    /// Annotations for every hop.
    pub message_annotations: Option<Map>,
    /// Standard properties.
    pub properties: Option<Properties>,
    /// The application's own properties.
    pub application_properties: Option<Map>,
    /// The content.
    pub body: Body,
    /// Details that need the whole content, such as a hash.
    pub footer: Option<Map>,
}

impl Encode for Message {
    fn encode(&self, out: &mut BytesMut) {
        if let Some(header) = &self.header {
            header.encode(out);
        }
        if let Some(annotations) = &self.delivery_annotations {
            Section::DeliveryAnnotations.put(out, annotations);
        }
        if let Some(annotations) = &self.message_annotations {
            Section::MessageAnnotations.put(out, annotations);
        }
        if let Some(properties) = &self.properties {
            properties.encode(out);
        }
        if let Some(properties) = &self.application_properties {
            Section::ApplicationProperties.put(out, properties);
        }
        self.body.encode(out);
        if let Some(footer) = &self.footer {
            Section::Footer.put(out, footer);
        }
    }
}
