//! Why a state cannot be saved or restored.

use std::error::Error as StdError;
use std::fmt;

use serde_json::Value;
use thiserror::Error;

/// The longest text of a value that an error repeats, in characters.
const MAX_VALUE: usize = 64;
/// The longest path of a field that it repeats.
const MAX_FIELD: usize = 128;
/// The longest text of serde's that it repeats: that names unknown fields and variants as they are.
const MAX_REASON: usize = 256;

/// Why a part's state cannot be saved or restored.
#[derive(Debug)]
#[non_exhaustive]
pub struct StateError {
    /// The part: the kind of its form, or its name in the machine where the caller knows it.
    pub part: Box<str>,
    /// The path of the field, such as `queues[3].size`; empty for the state as a whole.
    pub field: Box<str>,
    /// The value of that field as JSON, cut at 64 characters; empty where there is none.
    pub value: Box<str>,
    /// The reason.
    pub reason: StateReason,
}

/// The fault of a value of a saved state.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateReason {
    /// The state is one of another kind of part.
    #[error("not the kind of this part, {expected}")]
    Kind {
        /// The kind that this part reads.
        expected: &'static str,
    },
    /// There is no such version of the form, or no way from it to the newest one.
    #[error("this build reads versions up to {newest}")]
    Version {
        /// The newest version that there is.
        newest: u32,
    },
    /// The state is longer than any that a part writes.
    #[error("longer than {max} bytes")]
    TooLong {
        /// The limit in bytes.
        max: usize,
    },
    /// The state is not the form: no JSON, a field too many or too few, or of another type.
    #[error("malformed: {0}")]
    Malformed(#[source] serde_json::Error),
    /// The value is outside its range.
    #[error("must be from {min} to {max}")]
    OutOfRange {
        /// The smallest value that is possible.
        min: u64,
        /// The largest value that is possible.
        max: u64,
    },
    /// The value has bits that do not exist or that this machine does not have.
    #[error("only the bits {allowed:#x} are possible")]
    Bits {
        /// The bits that are possible.
        allowed: u64,
    },
    /// The value is a property of the machine, and this machine has another.
    #[error("this machine has {here}")]
    Differs {
        /// The value of this machine.
        here: Box<str>,
    },
    /// The value contradicts another field, or itself.
    #[error("contradicts {0}")]
    Contradicts(&'static str),
    /// A state that the machine needs is absent.
    #[error("absent")]
    Absent,
    /// A state that nothing in the machine has.
    #[error("nothing in this machine has such a state")]
    Unexpected,
    /// The part holds what no saved form has a place for.
    #[error("cannot be saved: {0}")]
    CannotBeSaved(&'static str),
    /// The host or another crate refused the value.
    #[error("{0}")]
    Refused(#[source] Box<dyn StdError + Send + Sync>),
}

impl StateReason {
    /// [`Malformed`](Self::Malformed), with a text that the state's author does not choose the length of.
    pub(super) fn malformed(error: serde_json::Error) -> Self {
        let text = error.to_string();
        let short = cut(text.clone(), MAX_REASON);
        match short == text {
            true => Self::Malformed(error),
            false => Self::Malformed(serde::de::Error::custom(short)),
        }
    }
}

/// At most `max` characters of `text`, and a mark where there are more.
fn cut(mut text: String, max: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(max) {
        text.truncate(end);
        text.push('…');
    }
    text
}

impl StateError {
    /// An error of the state of `part` as a whole.
    pub fn whole(part: &str, reason: StateReason) -> Self {
        Self {
            part: part.into(),
            field: "".into(),
            value: "".into(),
            reason,
        }
    }

    /// An error of the field at the path `field`, which has `value`.
    pub fn field(part: &str, field: &str, value: impl fmt::Display, reason: StateReason) -> Self {
        Self {
            part: part.into(),
            field: cut(field.to_owned(), MAX_FIELD).into(),
            value: cut(value.to_string(), MAX_VALUE).into(),
            reason,
        }
    }

    /// Checks that `value`, of the field at the path `field`, is at most `max`.
    ///
    /// # Errors
    /// [`StateReason::OutOfRange`].
    pub fn check_max(
        part: &str,
        field: &str,
        value: impl Into<u64>,
        max: impl Into<u64>,
    ) -> Result<(), Self> {
        let (value, max) = (value.into(), max.into());
        if value <= max {
            return Ok(());
        }
        let reason = StateReason::OutOfRange { min: 0, max };
        Err(Self::field(part, field, value, reason))
    }

    /// Checks that `value`, of the field at the path `field`, is what this machine has: `here`, written alike.
    ///
    /// # Errors
    /// [`StateReason::Differs`].
    pub fn check_same(
        part: &str,
        field: &str,
        value: impl fmt::Display,
        here: impl fmt::Display,
    ) -> Result<(), Self> {
        let (value, here) = (value.to_string(), here.to_string());
        if value == here {
            return Ok(());
        }
        let here = here.into();
        Err(Self::field(
            part,
            field,
            value,
            StateReason::Differs { here },
        ))
    }

    /// Checks that `value`, of the field at the path `field`, has no bit outside `allowed`.
    ///
    /// # Errors
    /// [`StateReason::Bits`].
    pub fn check_bits(
        part: &str,
        field: &str,
        value: impl Into<u64>,
        allowed: impl Into<u64>,
    ) -> Result<(), Self> {
        let (value, allowed) = (value.into(), allowed.into());
        if value & !allowed == 0 {
            return Ok(());
        }
        let reason = StateReason::Bits { allowed };
        Err(Self::field(part, field, format_args!("{value:#x}"), reason))
    }

    /// The same error, of the part that is called `part` in the machine.
    #[must_use]
    pub fn of(self, part: &str) -> Self {
        Self {
            part: part.into(),
            ..self
        }
    }

    /// The same error, of a state that is the field `outer` of another.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        let field = match &*self.field {
            "" => outer.to_owned(),
            inner => format!("{outer}.{inner}"),
        };
        Self {
            field: field.into(),
            ..self
        }
    }

    /// An error of the value at `path` in `state`.
    pub(super) fn at(part: &str, state: &Value, path: &str, reason: StateReason) -> Self {
        match find(state, path) {
            Some(value) => Self::field(part, path, value, reason),
            None => Self::field(part, path, "", reason),
        }
    }
}

/// The value at a path such as `queues[3].size`.
fn find<'a>(state: &'a Value, path: &str) -> Option<&'a Value> {
    let steps = path.split(['.', '[']).filter(|step| !step.is_empty());
    let mut at = state;
    for step in steps {
        at = match step.strip_suffix(']') {
            Some(index) => at.get(index.parse::<usize>().ok()?)?,
            None => at.get(step)?,
        };
    }
    Some(at)
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.part)?;
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        if !self.value.is_empty() {
            write!(f, " {}", self.value)?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl StdError for StateError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.reason {
            StateReason::Malformed(source) => Some(source),
            StateReason::Refused(source) => Some(&**source),
            _ => None,
        }
    }
}
