//! Text in an XML document.

/// `text` where XML text or an attribute may be (XML 1.0, sections 2.2 and 2.4): what XML cannot hold
/// is replaced.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_guest_becomes_markup() {
        assert_eq!(
            escaped("<script a=\"b\">&\u{0}\u{ffff}ä"),
            "&lt;script a=&quot;b&quot;&gt;&amp;\u{fffd}\u{fffd}ä"
        );
    }
}
