//! Errors as text for people.

/// `error` and its causes in one line, the last cause last.
///
/// ```
/// let error = std::io::Error::other("the cable is out");
/// assert_eq!(vmmkit_telemetry::error_line(&error), "the cable is out");
/// ```
pub fn error_line(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
