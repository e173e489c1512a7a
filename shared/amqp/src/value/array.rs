//! Arrays: values that share one constructor.

use super::Value;

/// Values of one type. The type is kept beside the items, since an empty array has one too.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    element_type: ElementType,
    items: Vec<Value>,
}

/// The type that all items of an array have.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ElementType {
    /// Null.
    Null,
    /// Boolean.
    Boolean,
    /// 8 bits, unsigned.
    Ubyte,
    /// 16 bits, unsigned.
    Ushort,
    /// 32 bits, unsigned.
    Uint,
    /// 64 bits, unsigned.
    Ulong,
    /// 8 bits, signed.
    Byte,
    /// 16 bits, signed.
    Short,
    /// 32 bits, signed.
    Int,
    /// 64 bits, signed.
    Long,
    /// IEEE 754 binary32.
    Float,
    /// IEEE 754 binary64.
    Double,
    /// IEEE 754 decimal32.
    Decimal32,
    /// IEEE 754 decimal64.
    Decimal64,
    /// IEEE 754 decimal128.
    Decimal128,
    /// Unicode scalar value.
    Char,
    /// Instant.
    Timestamp,
    /// UUID.
    Uuid,
    /// Octets.
    Binary,
    /// Text.
    String,
    /// Symbolic constant.
    Symbol,
    /// List.
    List,
    /// Map.
    Map,
    /// Array; the inner arrays may have different element types.
    Array,
    /// Values that share a descriptor and a type.
    Described {
        /// The descriptor of every item.
        descriptor: Box<Value>,
        /// The type of every item below the descriptor.
        element_type: Box<ElementType>,
    },
}

impl Array {
    /// An array of these items; `None` when one of them is not of the type.
    pub fn new(element_type: ElementType, items: Vec<Value>) -> Option<Self> {
        items
            .iter()
            .all(|item| element_type.fits(item))
            .then_some(Self {
                element_type,
                items,
            })
    }

    /// The type of the items.
    pub fn element_type(&self) -> &ElementType {
        &self.element_type
    }

    /// The items.
    pub fn items(&self) -> &[Value] {
        &self.items
    }

    /// From the decoder, whose items have the type by construction.
    pub(crate) fn from_decoded(element_type: ElementType, items: Vec<Value>) -> Self {
        Self {
            element_type,
            items,
        }
    }
}

impl ElementType {
    fn fits(&self, item: &Value) -> bool {
        match (self, item) {
            (Self::Null, Value::Null)
            | (Self::Boolean, Value::Boolean(_))
            | (Self::Ubyte, Value::Ubyte(_))
            | (Self::Ushort, Value::Ushort(_))
            | (Self::Uint, Value::Uint(_))
            | (Self::Ulong, Value::Ulong(_))
            | (Self::Byte, Value::Byte(_))
            | (Self::Short, Value::Short(_))
            | (Self::Int, Value::Int(_))
            | (Self::Long, Value::Long(_))
            | (Self::Float, Value::Float(_))
            | (Self::Double, Value::Double(_))
            | (Self::Decimal32, Value::Decimal32(_))
            | (Self::Decimal64, Value::Decimal64(_))
            | (Self::Decimal128, Value::Decimal128(_))
            | (Self::Char, Value::Char(_))
            | (Self::Timestamp, Value::Timestamp(_))
            | (Self::Uuid, Value::Uuid(_))
            | (Self::Binary, Value::Binary(_))
            | (Self::String, Value::String(_))
            | (Self::Symbol, Value::Symbol(_))
            | (Self::List, Value::List(_))
            | (Self::Map, Value::Map(_))
            | (Self::Array, Value::Array(_)) => true,
            (
                Self::Described {
                    descriptor,
                    element_type,
                },
                Value::Described(described),
            ) => **descriptor == described.descriptor && element_type.fits(&described.value),
            _ => false,
        }
    }
}
