//! Maps, in the order of the wire.

use super::{Symbol, Value};

/// Keys with their values. Small in practice, so a list that is searched from the front.
///
/// A peer's duplicate keys are kept (the bytes must come back as they were); the first one counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map(Vec<(Value, Value)>);

impl Map {
    /// An empty map.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value whose key is this text, be it a symbol or a string.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(name, _)| name.as_str() == Some(key))
            .map(|(_, value)| value)
    }

    /// Sets the value of a key, in place when the key is there already.
    pub fn insert(&mut self, key: impl Into<Value>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.0.iter_mut().find(|(name, _)| *name == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key, value)),
        }
    }

    /// Sets the value of a symbol key known at compile time, as annotations have them.
    pub fn insert_symbol(&mut self, key: &'static str, value: impl Into<Value>) {
        self.insert(Symbol::from_static(key), value);
    }

    /// Removes every entry whose key is this text and returns the first one's value.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self
            .0
            .iter()
            .position(|(name, _)| name.as_str() == Some(key))?;
        let (_, value) = self.0.remove(at);
        self.0.retain(|(name, _)| name.as_str() != Some(key));
        Some(value)
    }

    /// The entries in the order of the wire.
    pub fn iter(&self) -> std::slice::Iter<'_, (Value, Value)> {
        self.0.iter()
    }

    /// An empty map with room for `entries`: for the decoder.
    pub(crate) fn with_capacity(entries: usize) -> Self {
        Self(Vec::with_capacity(entries))
    }

    /// Adds an entry without looking for its key: for the decoder.
    pub(crate) fn push(&mut self, key: Value, value: Value) {
        self.0.push((key, value));
    }
}

impl<'a> IntoIterator for &'a Map {
    type Item = &'a (Value, Value);
    type IntoIter = std::slice::Iter<'a, (Value, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Map {
    type Item = (Value, Value);
    type IntoIter = std::vec::IntoIter<(Value, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<K: Into<Value>, V: Into<Value>> FromIterator<(K, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}
