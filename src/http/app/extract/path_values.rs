//! Reads the parameters of a path into a value, by serde.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde_core::de::value::{MapDeserializer, SeqDeserializer};
use serde_core::de::{
    Deserializer, EnumAccess, Error as _, IntoDeserializer, VariantAccess, Visitor,
};
use serde_core::forward_to_deserialize_any;

use crate::http::exchange::route::{Route, params_of};
use crate::http::message::decode_path;

/// Why parameters do not fit.
#[derive(Debug)]
pub(super) struct PathError(String);

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PathError {}

impl serde_core::de::Error for PathError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

/// The parameters of a route, and the path that has them; `None` without a route.
pub(super) struct PathValues<'de>(pub(super) Option<(&'de Route, &'de str)>);

impl<'de> PathValues<'de> {
    fn count(&self) -> usize {
        self.0.map_or(0, |(route, _)| route.params.len())
    }

    /// The only parameter.
    fn one(self) -> Result<Value<'de>, PathError> {
        match self.count() {
            1 => self.values().next().ok_or_else(|| PathError(String::new())),
            count => Err(PathError::custom(format_args!(
                "a single value was expected, and the route has {count} parameters"
            ))),
        }
    }

    fn values(self) -> impl Iterator<Item = Value<'de>> {
        let (params, path) = match self.0 {
            Some((route, path)) => (&*route.params, path),
            None => (&[][..], ""),
        };
        params_of(params, path).map(|(name, text)| Value { name, text })
    }
}

macro_rules! by_one {
    ($($method:ident)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
                self.one()?.$method(visitor)
            }
        )*
    };
}

impl<'de> Deserializer<'de> for PathValues<'de> {
    type Error = PathError;

    by_one! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32
        deserialize_i64 deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
        deserialize_option deserialize_identifier
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PathError> {
        self.one()?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, PathError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, PathError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
        visitor.visit_seq(SeqDeserializer::new(self.values()))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, PathError> {
        if self.count() != len {
            return Err(PathError::custom(format_args!(
                "{len} values were expected, and the route has {} parameters",
                self.count()
            )));
        }
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, PathError> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
        let entries = self.values().map(|value| (value.name, value));
        visitor.visit_map(MapDeserializer::new(entries))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PathError> {
        self.deserialize_map(visitor)
    }
}

/// One parameter.
struct Value<'de> {
    name: &'de str,
    /// Percent-encoded.
    text: &'de str,
}

impl<'de> Value<'de> {
    fn decoded(&self) -> Result<Cow<'de, str>, PathError> {
        let fault = |fault| PathError::custom(format_args!("{}: {fault}", self.name));
        decode_path(self.text).map_err(fault)
    }

    /// Only for types that no text with a `%` stands for: then a text that can be parsed is not
    /// encoded.
    #[inline]
    fn parse_plain<N: FromStr>(&self, expected: &str) -> Result<N, PathError> {
        match self.text.parse() {
            Ok(value) => Ok(value),
            Err(_) => self.parse(expected),
        }
    }

    #[inline(never)]
    fn parse<N: FromStr>(&self, expected: &str) -> Result<N, PathError> {
        let text = self.decoded()?;
        let fault = |_| {
            let name = self.name;
            PathError::custom(format_args!("{name}: expected {expected}, got {text:?}"))
        };
        text.parse().map_err(fault)
    }
}

macro_rules! parse_values {
    ($($parse:ident $method:ident $visit:ident $expected:literal,)*) => {
        $(
            #[inline]
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
                visitor.$visit(self.$parse($expected)?)
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = PathError;

    parse_values! {
        parse_plain deserialize_bool visit_bool "true or false",
        parse_plain deserialize_i8 visit_i8 "a number of type i8",
        parse_plain deserialize_i16 visit_i16 "a number of type i16",
        parse_plain deserialize_i32 visit_i32 "a number of type i32",
        parse_plain deserialize_i64 visit_i64 "a number of type i64",
        parse_plain deserialize_i128 visit_i128 "a number of type i128",
        parse_plain deserialize_u8 visit_u8 "a number of type u8",
        parse_plain deserialize_u16 visit_u16 "a number of type u16",
        parse_plain deserialize_u32 visit_u32 "a number of type u32",
        parse_plain deserialize_u64 visit_u64 "a number of type u64",
        parse_plain deserialize_u128 visit_u128 "a number of type u128",
        parse_plain deserialize_f32 visit_f32 "a number",
        parse_plain deserialize_f64 visit_f64 "a number",
        parse deserialize_char visit_char "one character",
    }

    forward_to_deserialize_any! {
        str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
        match self.decoded()? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PathError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, PathError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PathError> {
        visitor.visit_enum(self)
    }
}

impl<'de> IntoDeserializer<'de, PathError> for Value<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The name of a variant without fields.
impl<'de> EnumAccess<'de> for Value<'de> {
    type Error = PathError;
    type Variant = UnitVariant;

    fn variant_seed<S: serde_core::de::DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, UnitVariant), PathError> {
        let name = self.name;
        let variant = seed.deserialize(self);
        let variant = variant.map_err(|error| PathError(format!("{name}: {error}")))?;
        Ok((variant, UnitVariant))
    }
}

struct UnitVariant;

impl<'de> VariantAccess<'de> for UnitVariant {
    type Error = PathError;

    fn unit_variant(self) -> Result<(), PathError> {
        Ok(())
    }

    fn newtype_variant_seed<S: serde_core::de::DeserializeSeed<'de>>(
        self,
        _: S,
    ) -> Result<S::Value, PathError> {
        Err(has_no_fields())
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, PathError> {
        Err(has_no_fields())
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, PathError> {
        Err(has_no_fields())
    }
}

fn has_no_fields() -> PathError {
    PathError("a parameter can be a variant without fields only".to_owned())
}
