//! The table of what can be asked: the server dispatches by it, and the OpenAPI document is made of it.

/// An operation of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Machine,
    Boot,
    Pause,
    Resume,
    Reset,
    Snapshot,
    Stop,
    PowerButton,
    CtrlAltDel,
    Devices,
    Device,
    Limits,
    SetLimits,
    Size,
    Resize,
    Balloon,
    SetBalloon,
    Memory,
    SetMemory,
    Inspect,
    Metrics,
    Events,
    OpenApi,
}

/// The body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Nothing,
    /// JSON of this schema, or nothing.
    Optional(&'static str),
    /// JSON of this schema.
    Json(&'static str),
}

/// The body of an answer to a request that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// JSON of this schema.
    Json(&'static str),
    /// A list of such.
    List(&'static str),
    /// JSON of any form.
    AnyJson,
    /// Text of this type.
    Text(&'static str),
}

/// One row of the table.
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "the document is made of the rest, and compared, in the tests"
    )
)]
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) operation: Operation,
    /// The operation's name in the document.
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) body: Body,
    pub(crate) status: u16,
    pub(crate) answer: Answer,
    /// The statuses of its errors, besides those that any request may get.
    pub(crate) errors: &'static [u16],
}

/// Placeholder of a parameter in a path.
const PARAMETER: &str = "{name}";

/// The table.
pub(crate) const ROUTES: &[Route] = &[
    get(
        Operation::Machine,
        "/v1/machine",
        "machine",
        "What the machine is and does",
        Answer::Json("MachineInfo"),
    ),
    act(
        Operation::Boot,
        "/v1/machine/boot",
        "boot",
        "Let the guest of a machine that was created paused run",
    ),
    act(
        Operation::Pause,
        "/v1/machine/pause",
        "pause",
        "Take the guest off its vCPUs, devices at rest",
    ),
    act(
        Operation::Resume,
        "/v1/machine/resume",
        "resume",
        "Let the guest run on",
    ),
    act(
        Operation::Reset,
        "/v1/machine/reset",
        "reset",
        "Reset the machine: its guest boots again",
    ),
    Route {
        body: Body::Json("SnapshotRequest"),
        answer: Answer::Json("SnapshotInfo"),
        ..act(
            Operation::Snapshot,
            "/v1/machine/snapshot",
            "snapshot",
            "Save the machine to a folder; the guest stands still meanwhile, or for a short time",
        )
    },
    Route {
        body: Body::Optional("StopRequest"),
        status: 202,
        ..act(
            Operation::Stop,
            "/v1/machine/stop",
            "stop",
            "Ask the guest to power off, and stop the machine when it takes too long; the process ends with it",
        )
    },
    act(
        Operation::PowerButton,
        "/v1/machine/power-button",
        "powerButton",
        "Press the power button",
    ),
    act(
        Operation::CtrlAltDel,
        "/v1/machine/ctrl-alt-del",
        "ctrlAltDel",
        "Type Ctrl-Alt-Del",
    ),
    get(
        Operation::Devices,
        "/v1/devices",
        "devices",
        "The paravirtual devices, with their counters",
        Answer::List("Device"),
    ),
    Route {
        errors: &[404],
        ..get(
            Operation::Device,
            "/v1/devices/{name}",
            "device",
            "One device",
            Answer::Json("Device"),
        )
    },
    Route {
        errors: &[404],
        ..get(
            Operation::Limits,
            "/v1/devices/{name}/limits",
            "limits",
            "What limits a disk or a network interface",
            Answer::Json("Limits"),
        )
    },
    put(
        Operation::SetLimits,
        "/v1/devices/{name}/limits",
        "setLimits",
        "Change these limits at once",
        "Limits",
        "Limits",
    ),
    Route {
        errors: &[404, 409],
        ..get(
            Operation::Size,
            "/v1/devices/{name}/size",
            "size",
            "How large a disk is, as the guest knows it",
            Answer::Json("DiskSize"),
        )
    },
    Route {
        body: Body::Optional("DiskResize"),
        ..put(
            Operation::Resize,
            "/v1/devices/{name}/size",
            "resize",
            "Make a disk larger, or look at its size again, and tell the guest",
            "DiskResize",
            "DiskSize",
        )
    },
    Route {
        errors: &[404],
        ..get(
            Operation::Balloon,
            "/v1/balloon",
            "balloon",
            "How large the balloon is and should be",
            Answer::Json("Balloon"),
        )
    },
    put(
        Operation::SetBalloon,
        "/v1/balloon",
        "setBalloon",
        "Change how large the balloon should be",
        "BalloonTarget",
        "Balloon",
    ),
    Route {
        errors: &[404],
        ..get(
            Operation::Memory,
            "/v1/memory",
            "memory",
            "How much memory the guest has, should have and may have",
            Answer::Json("Memory"),
        )
    },
    put(
        Operation::SetMemory,
        "/v1/memory",
        "setMemory",
        "Change how much memory the guest should have",
        "MemoryTarget",
        "Memory",
    ),
    Route {
        errors: &[409],
        ..get(
            Operation::Inspect,
            "/v1/inspect",
            "inspect",
            "The state of every part of the machine, as a tree",
            Answer::AnyJson,
        )
    },
    get(
        Operation::Metrics,
        "/v1/metrics",
        "metrics",
        "Metrics as Prometheus reads them",
        Answer::Text("text/plain"),
    ),
    get(
        Operation::Events,
        "/v1/events",
        "events",
        "What happens, as server-sent events: each `data` is an Event",
        Answer::Text("text/event-stream"),
    ),
    get(
        Operation::OpenApi,
        "/v1/openapi.json",
        "openapi",
        "This document",
        Answer::AnyJson,
    ),
];

const fn get(
    operation: Operation,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    answer: Answer,
) -> Route {
    Route {
        method: "GET",
        path,
        operation,
        id,
        summary,
        body: Body::Nothing,
        status: 200,
        answer,
        errors: &[],
    }
}

/// Does something to the machine, and answers with what it does then.
const fn act(
    operation: Operation,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
) -> Route {
    Route {
        method: "POST",
        errors: &[409],
        ..get(operation, path, id, summary, Answer::Json("MachineInfo"))
    }
}

const fn put(
    operation: Operation,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    body: &'static str,
    answer: &'static str,
) -> Route {
    Route {
        method: "PUT",
        body: Body::Json(body),
        errors: &[404, 409],
        ..get(operation, path, id, summary, Answer::Json(answer))
    }
}

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
