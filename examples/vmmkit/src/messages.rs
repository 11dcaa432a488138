//! Messages on stderr. Nothing but the guest writes to stdout.

use std::io::{Write, stderr};

use crate::os_text;
use std::sync::atomic::{AtomicBool, Ordering};

/// A line was begun that is to be continued: whoever writes first ends it.
// Ordering: a flag alone.
static LINE_IS_OPEN: AtomicBool = AtomicBool::new(false);

/// Writes `vmmkit: ` and the message. Lines end in CR LF: the terminal may be raw.
pub(crate) fn say(message: &str) {
    write(&format!("vmmkit: {message}\n"));
}

/// Writes text as it is, but for the ends of its lines, at the start of a line.
pub(crate) fn write(text: &str) {
    end_line();
    put(text);
}

/// Writes the beginning of a line.
pub(crate) fn open_line(text: &str) {
    write(text);
    LINE_IS_OPEN.store(true, Ordering::Relaxed);
}

/// Writes the end of the line that was begun, if nothing has come between.
pub(crate) fn close_line(text: &str) {
    if LINE_IS_OPEN.swap(false, Ordering::Relaxed) {
        put(&format!("{text}\n"));
    }
}

/// Ends the line that was begun, if one was.
pub(crate) fn end_line() {
    close_line("");
}

fn put(text: &str) {
    let is_terminal = std::io::IsTerminal::is_terminal(&stderr());
    let text = os_text::shown(text);
    let text = if is_terminal {
        text.replace('\n', "\r\n")
    } else {
        text
    };
    // Where stderr is closed there is nobody to tell.
    let _ = stderr().write_all(text.as_bytes());
}
