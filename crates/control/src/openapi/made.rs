//! The document made from the table of routes and the types.

use serde_json::{Map, Value, json};
use utoipa::PartialSchema;

use crate::routes::{Answer, Body, ROUTES, Route};
use crate::{
    Balloon, BalloonTarget, Bucket, ConsoleSize, Device, DiskResize, DiskSize, Event, FlowLimits,
    Limits, MachineInfo, MachineState, Memory, MemoryTarget, MigrationInfo, MigrationProgress,
    MigrationRequest, Problem, SnapshotInfo, SnapshotRequest, StopRequest,
};

/// The errors that any request may get, with their meaning.
const ANY_ERROR: &[(u16, &str)] = &[
    (400, "The request is wrong by itself"),
    (403, "The client is another user's process"),
    (408, "The request took too long to arrive"),
    (413, "The body is larger than 64 KiB"),
    (415, "The body is not application/json"),
    (500, "The host or the program failed"),
    (503, "There are too many connections or streams"),
];

/// The document that describes the API (OpenAPI 3.1.0), made from the table of routes and the types.
pub(super) fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert(route.method.to_lowercase(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Control of a virtual machine",
            "description": "One machine, over its UNIX socket. A request is done or answered with a \
                            Problem. Requests that are not HTTP get a bare status.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
        },
        "servers": [{ "url": "http://localhost" }],
        "paths": paths,
        "components": { "schemas": schemas() },
    })
}

fn schemas() -> Value {
    json!({
        "Balloon": Balloon::schema(),
        "BalloonTarget": BalloonTarget::schema(),
        "Bucket": Bucket::schema(),
        "ConsoleSize": ConsoleSize::schema(),
        "Device": Device::schema(),
        "DiskResize": DiskResize::schema(),
        "DiskSize": DiskSize::schema(),
        "Event": Event::schema(),
        "FlowLimits": FlowLimits::schema(),
        "Limits": Limits::schema(),
        "MachineInfo": MachineInfo::schema(),
        "MachineState": MachineState::schema(),
        "Memory": Memory::schema(),
        "MemoryTarget": MemoryTarget::schema(),
        "MigrationInfo": MigrationInfo::schema(),
        "MigrationProgress": MigrationProgress::schema(),
        "MigrationRequest": MigrationRequest::schema(),
        "Problem": Problem::schema(),
        "SnapshotInfo": SnapshotInfo::schema(),
        "SnapshotRequest": SnapshotRequest::schema(),
        "StopRequest": StopRequest::schema(),
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = Map::from_iter([
        ("operationId".to_owned(), json!(route.id)),
        ("summary".to_owned(), json!(route.summary)),
        ("responses".to_owned(), responses(route)),
    ]);
    if route.path.contains("{name}") {
        let parameter = json!({
            "name": "name",
            "in": "path",
            "required": true,
            "description": "The name of a device, such as blk0",
            "schema": { "type": "string", "minLength": 1 },
        });
        operation.insert("parameters".to_owned(), json!([parameter]));
    }
    let body = match route.body {
        Body::Nothing => None,
        Body::Optional(schema) => Some((schema, false)),
        Body::Json(schema) => Some((schema, true)),
        Body::Octets => Some(("", false)),
    };
    if let Some((schema, required)) = body {
        let content = match schema {
            "" => json!({ "application/octet-stream": {} }),
            _ => json!({ "application/json": { "schema": reference(schema) } }),
        };
        let body = json!({ "required": required, "content": content });
        operation.insert("requestBody".to_owned(), body);
    }
    operation.into()
}

fn responses(route: &Route) -> Value {
    let good = match route.answer {
        Answer::Json(schema) => json!({ "application/json": { "schema": reference(schema) } }),
        Answer::List(schema) => json!({
            "application/json": { "schema": { "type": "array", "items": reference(schema) } }
        }),
        Answer::AnyJson => json!({ "application/json": { "schema": {} } }),
        Answer::Text(kind) => json!({ kind: { "schema": { "type": "string" } } }),
    };
    let mut responses = Map::new();
    let mut done = json!({ "description": "It is done", "content": good });
    if let (Answer::List(_), Some(done)) = (route.answer, done.as_object_mut()) {
        done.insert("links".to_owned(), links(route.path));
    }
    responses.insert(route.status.to_string(), done);
    let own = route.errors.iter().map(|status| match status {
        404 => (404, "This machine has no such device"),
        _ => (*status, "This machine cannot do it, or not now"),
    });
    for (status, description) in ANY_ERROR.iter().copied().chain(own) {
        let problem = json!({ "application/json": { "schema": reference("Problem") } });
        responses.insert(
            status.to_string(),
            json!({ "description": description, "content": problem }),
        );
    }
    responses.into()
}

/// Links of a list's members: the paths below that of the list.
fn links(path: &str) -> Value {
    let below = ROUTES.iter().filter(|route| {
        let rest = route.path.strip_prefix(path);
        rest.is_some_and(|rest| rest.starts_with("/{name}"))
    });
    let link = |route: &Route| {
        let parameters = json!({ "name": "$response.body#/0/name" });
        let link = json!({ "operationId": route.id, "parameters": parameters });
        (route.id.to_owned(), link)
    };
    Map::from_iter(below.map(link)).into()
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` below `value`.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match (name.as_str(), member) {
                        ("$ref", Value::String(target)) => found.push(target.clone()),
                        _ => references(member, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn what_is_served_is_what_the_code_does() {
        let served: Value = serde_json::from_str(super::super::document()).unwrap();
        assert_eq!(
            served,
            document(),
            "run: cargo test -p vmmkit-control writes_the_document -- --ignored"
        );
    }

    #[test]
    #[ignore = "writes openapi.json anew"]
    fn writes_the_document() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let text = serde_json::to_string_pretty(&document()).unwrap();
        std::fs::write(path, text + "\n").unwrap();
    }

    #[test]
    fn every_schema_that_is_referred_to_is_there() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > ROUTES.len());
        for target in found {
            let pointer = target.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{target}");
        }
    }

    #[test]
    fn unknown_fields_are_no_part_of_a_request() {
        let document = document();
        for name in [
            "MigrationRequest",
            "SnapshotRequest",
            "StopRequest",
            "Limits",
            "FlowLimits",
            "Bucket",
            "BalloonTarget",
            "DiskResize",
            "MemoryTarget",
            "ConsoleSize",
        ] {
            let schema = &document["components"]["schemas"][name];
            assert_eq!(schema["additionalProperties"], Value::Bool(false), "{name}");
        }
    }
}
