//! The test that holds a part to the versions of its form.

use serde_json::Value;

use super::{SaveState, SavedState, StateError, StateReason};

/// Checks `part` against a golden state, which an earlier build wrote: the part restores it, saves the same
/// if the version is still the newest, and refuses it with a field too many. A test calls it with each
/// version that there has been; it fails when a form changes without a new version.
///
/// # Errors
/// The error of the part, or the first field that it saves otherwise: [`StateReason::Differs`].
pub fn check_golden(part: &dyn SaveState, golden: &str) -> Result<(), StateError> {
    let golden = SavedState::from_json(golden.as_bytes())?;
    let mut extended = golden.clone();
    if let Value::Object(fields) = extended.contents_mut() {
        fields.insert("no_such_field".to_owned(), Value::Null);
    }
    if part.restore_state(&extended).is_ok() {
        let reason = StateReason::Unexpected;
        return Err(StateError::field(
            golden.kind(),
            "no_such_field",
            "null",
            reason,
        ));
    }
    part.restore_state(&golden)?;
    let saved = part.save_state()?;
    StateError::check_same(golden.kind(), "kind", golden.kind(), saved.kind())?;
    if saved.version() != golden.version() {
        return Ok(());
    }
    match difference("", golden.contents(), saved.contents()) {
        None => Ok(()),
        Some((path, old, new)) => {
            let reason = StateReason::Differs { here: new.into() };
            Err(StateError::field(golden.kind(), &path, old, reason))
        }
    }
}

/// The first place where two values differ, with both.
fn difference(path: &str, old: &Value, new: &Value) -> Option<(String, String, String)> {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => a
            .iter()
            .zip(b.values())
            .find_map(|((key, old), new)| difference(&join(path, key), old, new)),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .enumerate()
            .find_map(|(index, (old, new))| difference(&format!("{path}[{index}]"), old, new)),
        _ if old == new => None,
        _ => Some((path.to_owned(), old.to_string(), new.to_string())),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
