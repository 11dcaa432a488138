//! The forms of answers.

use serde::Serialize;
use serde_json::{Value, json};
use vmmkit_control::{Answer, Fault};

/// A request that was done.
#[derive(Debug)]
pub(super) enum Done {
    /// There is nothing to say.
    Nothing,
    /// The same, and a field of it is deprecated.
    Deprecated,
    /// The answer to a question.
    Json(Value),
}

impl Done {
    pub(super) fn json(value: &impl Serialize) -> Result<Self, Refused> {
        let value = serde_json::to_value(value);
        Ok(Self::Json(value.map_err(|error| error.to_string())?))
    }
}

/// A request that was not done.
#[derive(Debug)]
pub(super) enum Refused {
    /// It needs a machine that runs.
    Before,
    /// It is for a machine that does not run yet.
    After,
    /// There is no such request: its method and path.
    Unknown(String, String),
    /// For another reason, in a sentence.
    For(String),
    /// It was not heard.
    Fault(Fault),
}

impl From<String> for Refused {
    fn from(reason: String) -> Self {
        Self::For(reason)
    }
}

impl Refused {
    /// Its body cannot be read.
    pub(super) fn malformed(error: impl std::fmt::Display) -> Self {
        let start = "An error occurred when deserializing the json body of a request:";
        Self::For(format!("{start} {error}."))
    }

    fn sentence(&self) -> String {
        match self {
            Self::Before => {
                "The requested operation is not supported before starting the microVM.".to_owned()
            }
            Self::After => {
                "The requested operation is not supported after starting the microVM.".to_owned()
            }
            Self::Unknown(method, path) => {
                format!("Invalid request method and/or path: {method} {path}.")
            }
            Self::For(reason) => reason.clone(),
            Self::Fault(fault) => told(*fault),
        }
    }

    fn status(&self) -> u16 {
        match self {
            Self::Fault(fault) => fault.status(),
            _ => 400,
        }
    }
}

fn told(fault: Fault) -> String {
    match fault {
        Fault::TooLarge { most, length } => {
            let length = length.map_or_else(String::new, |length| format!(" of {length} bytes"));
            format!("The body{length} is larger than the limit of {most} bytes.")
        }
        Fault::TooSlow { patience } => {
            format!("The body took longer than {} s.", patience.as_secs())
        }
        Fault::Truncated => "The body ends before its length, or breaks the protocol.".to_owned(),
        Fault::Crowded => "There are too many connections.".to_owned(),
        Fault::Stranger { own, .. } => format!("Only user {own} and root may use this API."),
        _ => "The request ended in an internal error.".to_owned(),
    }
}

pub(super) fn answered(result: Result<Done, Refused>) -> Answer {
    let answer = match result {
        Ok(Done::Nothing) => Answer::new(204),
        Ok(Done::Deprecated) => Answer::new(204).with_header("deprecation", "true"),
        Ok(Done::Json(value)) => Answer::new(200).with_body("application/json", value.to_string()),
        Err(refused) => {
            let body = json!({ "fault_message": refused.sentence() });
            Answer::new(refused.status()).with_body("application/json", body.to_string())
        }
    };
    answer.with_header("server", "Firecracker API")
}
