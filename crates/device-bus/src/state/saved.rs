//! A saved state: the kind and version of its form, and the contents as JSON.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{StateError, StateReason};

/// The contents of a state before they are read as its form.
pub use serde_json::Value;

/// The longest saved state that is read, in bytes. The longest that is written is that of a memory device
/// of 1 TiB with every second block plugged: about 4 MiB.
pub const MAX_STATE_BYTES: usize = 16 << 20;

/// The form of one kind of part's state: a plain struct, with `#[serde(deny_unknown_fields)]`.
pub trait StateForm: Serialize + DeserializeOwned {
    /// The kind of part. It never changes.
    const KIND: &'static str;
    /// The version of the form, from 1 on. Each change of a field's name, type or meaning is a new one.
    const VERSION: u32;

    /// Turns contents of version `from` into those of version `from + 1`. `None` where there is no such
    /// version, or the contents are not of it.
    fn upgrade(from: u32, contents: Value) -> Option<Value> {
        let _ = (from, contents);
        None
    }
}

/// The saved state of one part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedState {
    kind: String,
    version: u32,
    state: Value,
}

/// The form of a part that has no state of its own.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

impl SavedState {
    /// The state that `form` is.
    ///
    /// # Errors
    /// [`StateReason::Malformed`] for a form that JSON cannot hold, such as a map without text as keys.
    pub fn new<F: StateForm>(form: &F) -> Result<Self, StateError> {
        let state = serde_json::to_value(form)
            .map_err(|error| StateError::whole(F::KIND, StateReason::malformed(error)))?;
        Ok(Self {
            kind: F::KIND.to_owned(),
            version: F::VERSION,
            state,
        })
    }

    /// The state of a part of the kind `kind`, which has none of its own.
    pub fn empty(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            version: 1,
            state: Value::Object(serde_json::Map::new()),
        }
    }

    /// Reads the JSON of [`to_json`](Self::to_json). What it allocates is bounded by the length of `bytes`,
    /// and the nesting of the contents by 128.
    ///
    /// # Errors
    /// [`StateReason::TooLong`] above [`MAX_STATE_BYTES`], [`StateReason::Malformed`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, StateError> {
        if bytes.len() > MAX_STATE_BYTES {
            let max = MAX_STATE_BYTES;
            return Err(StateError::whole("state", StateReason::TooLong { max }));
        }
        serde_json::from_slice(bytes)
            .map_err(|error| StateError::whole("state", StateReason::malformed(error)))
    }

    /// As one line of JSON.
    pub fn to_json(&self) -> String {
        // Text as keys and no floating-point numbers: JSON can hold it.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The kind of its form.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The version of its form.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Its contents, for people and for tests.
    pub fn contents(&self) -> &Value {
        &self.state
    }

    pub(super) fn contents_mut(&mut self) -> &mut Value {
        &mut self.state
    }

    /// Reads it as the form `F`, after bringing an older version up to the newest.
    ///
    /// # Errors
    /// [`StateReason::Kind`], [`StateReason::Version`], [`StateReason::Malformed`] with the field.
    pub fn read<F: StateForm>(&self) -> Result<F, StateError> {
        self.check_kind(F::KIND)?;
        if self.version == 0 || self.version > F::VERSION {
            return Err(self.unknown_version(F::KIND, F::VERSION));
        }
        let mut contents = self.state.clone();
        for version in self.version..F::VERSION {
            contents = F::upgrade(version, contents)
                .ok_or_else(|| self.unknown_version(F::KIND, F::VERSION))?;
        }
        serde_path_to_error::deserialize(&contents).map_err(|error| {
            let path = error.path().to_string();
            // What it writes for the state as a whole.
            let path = if path == "." { "" } else { &path };
            let reason = StateReason::malformed(error.into_inner());
            match path {
                "" => StateError::whole(F::KIND, reason),
                _ => StateError::at(F::KIND, &contents, path, reason),
            }
        })
    }

    /// Reads it as the state of a part of the kind `kind`, which has none of its own.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_empty(&self, kind: &'static str) -> Result<(), StateError> {
        self.check_kind(kind)?;
        if self.version != 1 {
            return Err(self.unknown_version(kind, 1));
        }
        match Empty::deserialize(&self.state) {
            Ok(Empty {}) => Ok(()),
            Err(error) => Err(StateError::whole(kind, StateReason::malformed(error))),
        }
    }

    fn check_kind(&self, expected: &'static str) -> Result<(), StateError> {
        if self.kind == expected {
            return Ok(());
        }
        let reason = StateReason::Kind { expected };
        Err(StateError::field(expected, "kind", &self.kind, reason))
    }

    fn unknown_version(&self, kind: &str, newest: u32) -> StateError {
        let reason = StateReason::Version { newest };
        StateError::field(kind, "version", self.version, reason)
    }
}

#[cfg(test)]
mod tests;
