//! The table of what can be asked: the server dispatches by it, and the OpenAPI document is made of it.

mod find;

pub(crate) use find::{Found, find};

/// An operation of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Machine,
    Boot,
    Pause,
    Resume,
    Reset,
    Snapshot,
    Migrate,
    Migration,
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
    ConsoleLog,
    ConsoleOutput,
    ConsoleInput,
    TakeConsole,
    ConsoleSize,
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
    /// Bytes, as they are and as long as they last.
    Octets,
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
        body: Body::Json("MigrationRequest"),
        answer: Answer::Json("MigrationInfo"),
        ..act(
            Operation::Migrate,
            "/v1/machine/migrate",
            "migrate",
            "Move the guest to another process, which waits at a socket; this one ends then",
        )
    },
    get(
        Operation::Migration,
        "/v1/machine/migration",
        "migration",
        "How far a migration has come",
        Answer::Json("MigrationProgress"),
    ),
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
    Route {
        errors: &[404],
        ..get(
            Operation::ConsoleLog,
            "/v1/console/log",
            "consoleLog",
            "The last 64 KiB that the guest has printed on its console",
            Answer::Text("application/octet-stream"),
        )
    },
    Route {
        errors: &[404],
        ..get(
            Operation::ConsoleOutput,
            "/v1/console/output",
            "consoleOutput",
            "The last output and all that follows, to the end of the machine; the header replayed-bytes has the \
             length of the former. A slow reader misses some, and is told how much in a line of its own",
            Answer::Text("application/octet-stream"),
        )
    },
    Route {
        body: Body::Octets,
        errors: &[404, 409],
        ..act(
            Operation::ConsoleInput,
            "/v1/console/input",
            "typeOnConsole",
            "Type the body on the console, as it arrives and as fast as the guest reads; one client does at a time",
        )
    },
    Route {
        method: "PUT",
        body: Body::Octets,
        errors: &[404, 409],
        ..act(
            Operation::TakeConsole,
            "/v1/console/input",
            "takeConsole",
            "The same in the place of the client that types now",
        )
    },
    put(
        Operation::ConsoleSize,
        "/v1/console/size",
        "setConsoleSize",
        "Tell the guest the size of the terminal that shows its console",
        "ConsoleSize",
        "ConsoleSize",
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
