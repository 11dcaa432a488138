//! The OpenAPI document: a file that is served as it is, and that the tests compare with what the code
//! does (paths from the table of routes, schemas from the types). So what makes schemas is compiled for
//! the tests alone.

#[cfg(test)]
mod made;

/// The OpenAPI document (OpenAPI 3.1.0) that describes the API, as JSON text: the file openapi.json of this crate.
pub fn document() -> &'static str {
    include_str!("../../openapi.json")
}
