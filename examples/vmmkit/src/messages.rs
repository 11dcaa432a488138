//! Messages on stderr. Nothing but the guest writes to stdout.

use std::io::{Write, stderr};

/// Writes `vmmkit: ` and the message. Lines end in CR LF: the terminal may be raw.
pub(crate) fn say(message: &str) {
    write(&format!("vmmkit: {message}\n"));
}

/// Writes text as it is, but for the ends of its lines.
pub(crate) fn write(text: &str) {
    let is_terminal = std::io::IsTerminal::is_terminal(&stderr());
    let text = if is_terminal {
        text.replace('\n', "\r\n")
    } else {
        text.to_owned()
    };
    // Where stderr is closed there is nobody to tell.
    let _ = stderr().write_all(text.as_bytes());
}
