//! Composite types: a described list whose fields the specification names in order.
//!
//! One declaration gives the struct, its encoder and its decoder, so that the three cannot
//! disagree about the order. A field is `required`, `optional` (null is `None`, and left out at the
//! end of the list), `nullable` (the same, but never left out), or `or_default` (null is the
//! default of the specification, and the default is sent as null).

/// Declares composite types.
macro_rules! composite {
    ($(
        $(#[$meta:meta])*
        struct $name:ident ($code:literal, $symbol:literal) {
            $( $(#[$field_meta:meta])* $kind:ident $field:ident : $ty:ty $(= $default:expr)? ),* $(,)?
        }
    )+) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $crate::composite::field_type!($kind $ty), )*
        }

        impl $name {
            /// The numeric descriptor.
            pub const DESCRIPTOR: u64 = $code;
            /// The symbolic descriptor.
            pub const SYMBOL: &'static str = $symbol;

            /// Reads the list that follows the descriptor.
            #[inline]
            pub(crate) fn decode_fields(
                decoder: &mut $crate::decode::Decoder<'_>,
            ) -> Result<Self, $crate::decode_error::DecodeError> {
                let mut list = decoder.enter_list($symbol)?;
                $(
                    let $field = if list.has_another() {
                        $crate::field::optional::<$ty>(decoder)?
                    } else {
                        None
                    };
                    let $field = $crate::composite::field_value!(
                        $kind $symbol, $field $(, $default)?
                    );
                )*
                // Fields that a later revision may append are passed over.
                decoder.leave(list);
                Ok(Self { $( $field, )* })
            }
        }

        impl $crate::encode::Encode for $name {
            fn encode(&self, out: &mut bytes::BytesMut) {
                $crate::encode::put_descriptor(out, Self::DESCRIPTOR);
                let mut list = $crate::encode::ListWriter::begin(out);
                $( $crate::composite::field_encode!(
                    $kind list, out, self.$field $(, $default)?
                ); )*
                list.finish(out);
            }
        }

        impl $crate::field::Decode for $name {
            const EXPECTED: &'static str = $symbol;

            #[inline]
            fn decode(
                decoder: &mut $crate::decode::Decoder<'_>,
            ) -> Result<Self, $crate::decode_error::DecodeError> {
                let descriptor = decoder
                    .descriptor($symbol, |symbol| (symbol == $symbol).then_some($code))?;
                if descriptor != $code {
                    return Err($crate::decode_error::DecodeError::UnexpectedDescriptor {
                        expected: $symbol,
                        descriptor,
                    });
                }
                Self::decode_fields(decoder)
            }
        }
    )+};
}

macro_rules! field_type {
    (required $ty:ty) => { $ty };
    (or_default $ty:ty) => { $ty };
    (optional $ty:ty) => { Option<$ty> };
    (nullable $ty:ty) => { Option<$ty> };
}

macro_rules! field_value {
    (required $composite:literal, $field:ident) => {
        $field.ok_or($crate::decode_error::DecodeError::MissingField {
            composite: $composite,
            field: stringify!($field),
        })?
    };
    (or_default $composite:literal, $field:ident, $default:expr) => {
        $field.unwrap_or($default)
    };
    (optional $composite:literal, $field:ident) => {
        $field
    };
    (nullable $composite:literal, $field:ident) => {
        $field
    };
}

macro_rules! field_encode {
    (required $list:ident, $out:ident, $value:expr) => {
        $list.field($out, &$value)
    };
    (or_default $list:ident, $out:ident, $value:expr, $default:expr) => {
        $list.optional($out, Some(&$value).filter(|value| **value != $default))
    };
    (optional $list:ident, $out:ident, $value:expr) => {
        $list.optional($out, $value.as_ref())
    };
    (nullable $list:ident, $out:ident, $value:expr) => {
        $list.nullable($out, $value.as_ref())
    };
}

pub(crate) use {composite, field_encode, field_type, field_value};
