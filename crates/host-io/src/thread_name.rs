//! The names of threads.

/// The name of `thread`, one of those that `prefix` tells from others in the process, as Linux shows it:
/// in 15 bytes (prctl(2), PR_SET_NAME). A prefix that is too long loses its end, not the thread's own
/// name; without one, that is all.
///
/// ```
/// assert_eq!(vmmkit_host_io::thread_name("web", "vcpu0"), "web:vcpu0");
/// ```
pub fn thread_name(prefix: &str, thread: &str) -> String {
    const LONGEST: usize = 15;
    let room = LONGEST.saturating_sub(thread.len() + 1);
    let prefix: String = prefix
        .char_indices()
        .take_while(|(at, letter)| at + letter.len_utf8() <= room && *letter != '\0')
        .map(|(_, letter)| letter)
        .collect();
    match prefix.is_empty() {
        true => thread.to_owned(),
        false => format!("{prefix}:{thread}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_s_own_name_is_whole_whatever_the_prefix() {
        assert_eq!(thread_name("", "vcpu0"), "vcpu0");
        assert_eq!(thread_name("web", "vcpu0"), "web:vcpu0");
        assert_eq!(thread_name("a-long-name", "vcpu17"), "a-long-n:vcpu17");
        assert_eq!(
            thread_name("\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}", "vcpu17"),
            "\u{fc}\u{fc}\u{fc}\u{fc}:vcpu17"
        );
        assert_eq!(thread_name("a\0b", "vmm"), "a:vmm");
    }
}
