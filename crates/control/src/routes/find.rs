//! The row of the table that a request asks for.

use super::{ROUTES, Route};

/// Placeholder of a parameter in a path.
const PARAMETER: &str = "{name}";

/// The route of a method and a path.
pub(crate) enum Found<'a> {
    /// A route, and the parameter in its path.
    Route(&'static Route, &'a str),
    /// The path has other methods, as the header `allow` lists them.
    OtherMethods(String),
    /// There is no such path.
    Nothing,
}

/// Looks a request up.
pub(crate) fn find<'a>(method: &str, path: &'a str) -> Found<'a> {
    let mut others = Vec::new();
    for route in ROUTES {
        if let Some(parameter) = parameter(route.path, path) {
            if route.method == method {
                return Found::Route(route, parameter);
            }
            others.push(route.method);
        }
    }
    match others.is_empty() {
        true => Found::Nothing,
        false => Found::OtherMethods(others.join(", ")),
    }
}

/// Whether `path` is of the form `pattern`: the parameter in it, or nothing.
fn parameter<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let Some((before, after)) = pattern.split_once(PARAMETER) else {
        return (pattern == path).then_some("");
    };
    let name = path.strip_prefix(before)?.strip_suffix(after)?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_part_of_a_path() {
        assert_eq!(
            parameter("/v1/devices/{name}", "/v1/devices/blk0"),
            Some("blk0")
        );
        let limits = "/v1/devices/{name}/limits";
        assert_eq!(parameter(limits, "/v1/devices/blk0/limits"), Some("blk0"));
        for path in [
            "/v1/devices/",
            "/v1/devices/a/b",
            "/v1/devices//limits",
            "/v1/devices",
        ] {
            assert_eq!(parameter("/v1/devices/{name}", path), None, "{path}");
        }
    }

    #[test]
    fn another_method_is_told_which_there_are() {
        let Found::OtherMethods(allowed) = find("DELETE", "/v1/balloon") else {
            panic!("DELETE must not be found");
        };
        assert_eq!(allowed, "GET, PUT");
        assert!(matches!(find("GET", "/"), Found::Nothing));
    }

    #[test]
    fn no_two_routes_or_names_are_the_same() {
        for (index, route) in ROUTES.iter().enumerate() {
            for other in &ROUTES[index + 1..] {
                assert!(route.method != other.method || route.path != other.path);
                assert_ne!(route.id, other.id);
                assert_ne!(route.operation, other.operation);
            }
        }
    }
}
