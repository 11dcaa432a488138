use parking_lot::Mutex;

use super::*;
use crate::{SaveState, check_golden};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Timer {
    count: u64,
    reloads: Vec<u16>,
}

impl StateForm for Timer {
    const KIND: &'static str = "timer";
    const VERSION: u32 = 3;

    /// Version 1 had one reload value, version 2 called it by another name.
    fn upgrade(from: u32, mut contents: Value) -> Option<Value> {
        let fields = contents.as_object_mut()?;
        match from {
            1 => {
                let reload = fields.remove("reload")?;
                fields.insert("period".to_owned(), reload);
            }
            2 => {
                let period = fields.remove("period")?;
                fields.insert("reloads".to_owned(), Value::Array(vec![period]));
            }
            _ => return None,
        }
        Some(contents)
    }
}

impl SaveState for Mutex<Timer> {
    fn save_state(&self) -> Result<SavedState, StateError> {
        SavedState::new(&*self.lock())
    }
    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        *self.lock() = saved.read()?;
        Ok(())
    }
}

fn read(json: &str) -> Result<Timer, StateError> {
    SavedState::from_json(json.as_bytes())?.read()
}

#[test]
fn each_version_is_brought_up_to_the_newest() {
    let timer = Timer {
        count: u64::MAX,
        reloads: vec![7],
    };
    for old in [
        r#"{"kind":"timer","version":1,"state":{"count":18446744073709551615,"reload":7}}"#,
        r#"{"kind":"timer","version":2,"state":{"count":18446744073709551615,"period":7}}"#,
        r#"{"kind":"timer","version":3,"state":{"count":18446744073709551615,"reloads":[7]}}"#,
    ] {
        assert_eq!(read(old).unwrap(), timer);
        check_golden(&Mutex::<Timer>::default(), old).unwrap();
    }
}

#[test]
fn an_error_names_part_field_value_and_reason() {
    let error = |json| read(json).unwrap_err().to_string();
    assert_eq!(
        error(r#"{"kind":"timer","version":3,"state":{"count":1,"reloads":[1,65536]}}"#),
        "timer: reloads[1] 65536: malformed: invalid value: integer `65536`, expected u16"
    );
    assert_eq!(
        error(r#"{"kind":"timer","version":4,"state":{}}"#),
        "timer: version 4: this build reads versions up to 3"
    );
    assert_eq!(
        error(r#"{"kind":"timer","version":0,"state":{}}"#),
        "timer: version 0: this build reads versions up to 3"
    );
    assert_eq!(
        error(r#"{"kind":"clock","version":3,"state":{}}"#),
        "timer: kind clock: not the kind of this part, timer"
    );
    assert_eq!(
        error(r#"{"kind":"timer","version":3,"state":{"count":1}}"#),
        "timer: malformed: missing field `reloads`"
    );
    let long = format!(
        r#"{{"kind":"timer","version":3,"state":{{"count":"{}","reloads":[]}}}}"#,
        "é".repeat(100_000)
    );
    assert!(read(&long).unwrap_err().value.chars().count() <= 65);
}

#[test]
fn what_is_read_is_bounded() {
    let too_long = vec![b' '; MAX_STATE_BYTES + 1];
    let error = SavedState::from_json(&too_long).unwrap_err();
    assert!(matches!(error.reason, StateReason::TooLong { .. }));
    let deep = format!(
        r#"{{"kind":"timer","version":1,"state":{}"#,
        "[".repeat(1_000_000)
    );
    assert!(SavedState::from_json(deep.as_bytes()).is_err());
    // A version whose upgrade meets contents that are not of it.
    assert!(read(r#"{"kind":"timer","version":1,"state":[1]}"#).is_err());
}

#[test]
fn a_golden_shows_a_form_that_changed_without_a_new_version() {
    /// Saves one more than it was given.
    struct Changed(Mutex<Timer>);
    impl SaveState for Changed {
        fn save_state(&self) -> Result<SavedState, StateError> {
            self.0.lock().count += 1;
            self.0.save_state()
        }
        fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
            self.0.restore_state(saved)
        }
    }
    let golden = r#"{"kind":"timer","version":3,"state":{"count":1,"reloads":[7]}}"#;
    let error = check_golden(&Changed(Mutex::default()), golden).unwrap_err();
    assert_eq!(error.to_string(), "timer: count 1: this machine has 2");
    let gone = r#"{"kind":"timer","version":3,"state":{"count":1,"reloads":[7],"old":0}}"#;
    assert!(check_golden(&Mutex::<Timer>::default(), gone).is_err());
}

#[test]
fn a_part_without_state_has_a_form_too() {
    let saved = SavedState::empty("port");
    assert_eq!(saved.to_json(), r#"{"kind":"port","version":1,"state":{}}"#);
    saved.read_empty("port").unwrap();
    assert!(saved.read_empty("door").is_err());
    let more = br#"{"kind":"port","version":1,"state":{"a":1}}"#;
    let more = SavedState::from_json(more).unwrap();
    assert!(more.read_empty("port").is_err());
}

#[test]
fn an_error_is_short_whatever_a_state_holds() {
    let long = "ä".repeat(5000);
    let fields = [
        format!(r#""{long}": 1"#),
        format!(r#""count": "{long}""#),
        format!(r#""count": 1, "reloads": ["{long}"]"#),
        format!(r#""count": {{"{long}": 1}}"#),
    ];
    for field in fields {
        let state = format!(r#"{{"kind":"timer","version":3,"state":{{{field}}}}}"#);
        let saved = SavedState::from_json(state.as_bytes()).unwrap();
        let error = saved.read::<Timer>().unwrap_err().to_string();
        assert!(error.len() < 1000, "{error}");
        assert!(error.starts_with("timer"), "{error}");
    }
    let empty = format!(r#"{{"kind":"port","version":1,"state":{{"{long}":1}}}}"#);
    let empty = SavedState::from_json(empty.as_bytes()).unwrap();
    assert!(empty.read_empty("port").unwrap_err().to_string().len() < 1000);
    let outside = format!(r#"{{"{long}":1}}"#);
    let error = SavedState::from_json(outside.as_bytes()).unwrap_err();
    assert!(error.to_string().len() < 1000, "{error}");
    // Another kind is named by the state itself.
    let kind = format!(r#"{{"kind":"{long}","version":3,"state":{{}}}}"#);
    let kind = SavedState::from_json(kind.as_bytes()).unwrap();
    assert!(kind.read::<Timer>().unwrap_err().to_string().len() < 1000);
}
