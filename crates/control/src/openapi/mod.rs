//! The OpenAPI document: a file that is served as it is, and that the tests compare with what the code
//! does (paths from the table of routes, schemas from the types). So what makes schemas is compiled for
//! the tests alone.

#[cfg(test)]
mod made;

/// The OpenAPI document (OpenAPI 3.1.0) that describes the API, as JSON text: the file openapi.json of this crate.
pub fn document() -> &'static str {
    include_str!("../../openapi.json")
}

/// The same with another title.
pub(crate) fn document_titled(title: &str) -> String {
    const KEY: &str = "\"title\": ";
    let document = document();
    // The one title that is a text is that of the document: a test holds that.
    let title = serde_json::Value::from(title);
    let usual = format!("{KEY}\"Control of a virtual machine\"");
    document.replacen(&usual, &format!("{KEY}{title}"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_is_the_embedder_s() {
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let mut usual = read(document());
        let titled = read(&document_titled("Machines of \"web\""));
        assert_eq!(titled["info"]["title"], "Machines of \"web\"");
        assert_ne!(titled, usual);
        usual["info"]["title"] = "Machines of \"web\"".into();
        assert_eq!(titled, usual);
    }
}
