//! The one form of an error.

use std::error::Error;
use std::io::{self, ErrorKind};

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use crate::{Fault, Refusal};

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Problem {
    /// The kind of error, for programs: one of a fixed set of words.
    pub code: String,
    /// The error and, where it is known, the next step, for people.
    pub message: String,
    /// The field of the request's body that is to blame.
    pub field: Option<String>,
    /// The status that it is sent with; not part of the body.
    #[serde(skip)]
    #[cfg_attr(test, schema(ignore))]
    pub status: u16,
}

impl Problem {
    /// The `code` where the host has no room for what was to be written.
    pub const NO_SPACE: &str = "no_space";
    /// The `code` where the host lets the machine's process not do it.
    pub const NO_PERMISSION: &str = "no_permission";

    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            field: None,
            status: status.as_u16(),
        }
    }

    /// The request is wrong, whatever the machine.
    pub(crate) fn bad_request(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// The same, because of one of its fields.
    pub(crate) fn bad_field(field: &str, message: impl Into<String>) -> Self {
        Self {
            field: Some(field.to_owned()),
            ..Self::bad_request("invalid_field", message)
        }
    }

    pub(crate) fn busy(message: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    }

    /// Another client has what there is one of.
    pub(crate) fn taken(message: &str) -> Self {
        Self::new(StatusCode::CONFLICT, "taken", message)
    }

    pub(crate) fn internal(message: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Its body.
    pub(crate) fn json(&self) -> Vec<u8> {
        // Three texts: serde_json cannot fail on them.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.sentence();
        match refusal {
            Refusal::State { .. } => Self::new(StatusCode::CONFLICT, "wrong_state", message),
            Refusal::NoSuchDevice(_)
            | Refusal::NoLimits(_)
            | Refusal::NoSize(_)
            | Refusal::NoBalloon
            | Refusal::NoMemory
            | Refusal::NoConsole => Self::new(StatusCode::NOT_FOUND, "no_such_device", message),
            Refusal::Field { field, .. } => Self {
                field: Some(field.to_owned()),
                ..Self::new(StatusCode::CONFLICT, "impossible_value", message)
            },
            Refusal::Unsupported(cause) => {
                Self::new(StatusCode::CONFLICT, code_of(&*cause), message)
            }
            Refusal::Busy(_) => Self::busy(&message),
            Refusal::NotBuilt => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "host_error", message)
            }
        }
    }
}

/// The word for what a machine cannot do because of `cause`: for what the host refused it is one of its own, where who asked
/// can do something about that.
fn code_of(cause: &(dyn Error + 'static)) -> &'static str {
    let mut causes = std::iter::successors(Some(cause), |&cause| cause.source());
    let host = causes.find_map(|cause| cause.downcast_ref::<io::Error>());
    match host.map(io::Error::kind) {
        Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => Problem::NO_SPACE,
        Some(ErrorKind::PermissionDenied) => Problem::NO_PERMISSION,
        _ => "unsupported",
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let (code, message) = match fault {
            Fault::TooLarge { most, .. } => {
                let message = format!("the body is larger than {most} bytes");
                ("too_large", message)
            }
            Fault::TooSlow { patience } => {
                let message = format!("the body took longer than {} s", patience.as_secs());
                ("timeout", message)
            }
            Fault::Truncated => {
                let message = "the body ends before its length, or breaks the protocol";
                ("truncated", message.to_owned())
            }
            Fault::Crowded => ("busy", "there are too many connections".to_owned()),
            Fault::Stranger { own, user } => match user {
                Some(user) => {
                    let message =
                        format!("this machine belongs to user {own}, and you are user {user}");
                    ("forbidden", message)
                }
                None => ("internal", "the client's user is not known".to_owned()),
            },
            Fault::Failed => ("internal", "the call ended in an internal error".to_owned()),
        };
        Self {
            status: fault.status(),
            ..Self::bad_request(code, message)
        }
    }
}

#[cfg(test)]
mod tests {
    use thiserror::Error as ThisError;

    use super::*;

    #[derive(Debug, ThisError)]
    #[error("the snapshot cannot be written")]
    struct NotSaved(#[source] io::Error);

    #[test]
    fn what_the_host_refused_has_a_word_of_its_own() {
        for (kind, code) in [
            (ErrorKind::StorageFull, Problem::NO_SPACE),
            (ErrorKind::QuotaExceeded, Problem::NO_SPACE),
            (ErrorKind::PermissionDenied, Problem::NO_PERMISSION),
            (ErrorKind::NotFound, "unsupported"),
        ] {
            let refusal = Refusal::unsupported(NotSaved(kind.into()));
            let problem = Problem::from(refusal);
            assert_eq!((problem.code.as_str(), problem.status), (code, 409));
        }
    }
}
