//! The server, by its answers.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use vmmkit_host_io::Listener;

use super::*;
use crate::fake::{FakeMachine, Folder};
use crate::{
    Client, ClientError, DiskResize, DiskSize, Event, MachineInfo, MachineState, Memory,
    MemoryTarget, Problem, StopRequest,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A server over a fake machine, and its socket.
pub(super) struct Served {
    pub(super) machine: Arc<FakeMachine>,
    pub(super) server: Server,
    socket: PathBuf,
    folder: Folder,
}

impl Served {
    pub(super) fn new(machine: FakeMachine, limits: Limits) -> Self {
        let folder = Folder::new();
        let socket = folder.path().join("s");
        let machine = Arc::new(machine);
        let api = Api::new(machine.clone()).limited(limits);
        let server = Server::start(api, vec![Arc::new(Listener::bind(&socket).unwrap())]).unwrap();
        Self {
            machine,
            server,
            socket,
            folder,
        }
    }

    pub(super) fn fake() -> Self {
        Self::new(FakeMachine::new(), Limits::default())
    }

    pub(super) fn client(&self) -> Client {
        Client::new(&self.socket)
    }

    pub(super) fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

/// The answer of a server without a socket: status, and the body as JSON.
fn answer(method: &str, path: &str, body: &str) -> (u16, Value) {
    answer_of(&Api::new(Arc::new(FakeMachine::new())), method, path, body)
}

fn answer_of(api: &Api, method: &str, path: &str, body: &str) -> (u16, Value) {
    let length = body.len();
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}");
    let answer = String::from_utf8(api.answer(request.as_bytes()).unwrap()).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (
        status,
        serde_json::from_str(body).unwrap_or_else(|_| json!(body)),
    )
}

/// The problem that a request is answered with.
fn problem(method: &str, path: &str, body: &str) -> (u16, String, Option<String>) {
    let (status, problem) = answer(method, path, body);
    let problem: Problem = serde_json::from_value(problem).unwrap();
    assert!(!problem.message.is_empty());
    (status, problem.code, problem.field)
}

#[test]
fn a_machine_says_what_it_is() {
    let (status, body) = answer("GET", "/v1/machine", "");
    assert_eq!(status, 200);
    assert_eq!(body["state"], "running");
    assert_eq!(body["memory_bytes"], 256 << 20);
}

#[test]
fn calls_reach_the_machine_and_answer_with_its_state() {
    let machine = Arc::new(FakeMachine::in_state(MachineState::Created));
    let api = Api::new(machine.clone());
    for (call, state) in [
        ("boot", "running"),
        ("pause", "paused"),
        ("resume", "running"),
        ("reset", "running"),
        ("power-button", "running"),
        ("ctrl-alt-del", "running"),
    ] {
        let (status, body) = answer_of(&api, "POST", &format!("/v1/machine/{call}"), "");
        assert_eq!((status, &body["state"]), (200, &json!(state)), "{call}");
    }
    let calls = [
        "boot",
        "pause",
        "resume",
        "reset",
        "power_button",
        "ctrl_alt_del",
    ];
    assert_eq!(machine.calls(), calls);
}

#[test]
fn a_wrong_state_is_a_conflict() {
    assert_eq!(
        problem("POST", "/v1/machine/boot", ""),
        (409, "wrong_state".into(), None)
    );
}

#[test]
fn a_field_that_is_to_blame_is_named() {
    let put = |body: &str| problem("PUT", "/v1/devices/blk0/limits", body);
    let field = |name: &str| (400, "invalid_field".to_owned(), Some(name.to_owned()));
    assert_eq!(put(r#"{"request": {}}"#), field("request"));
    assert_eq!(put(r#"{"requests": 7}"#), field("requests"));
    assert_eq!(
        put(r#"{"requests": {"bandwidth": {"size": 1, "sizes": 1}}}"#),
        field("requests.bandwidth.sizes")
    );
    assert_eq!(
        put(r#"{"requests": {"bandwidth": {}}}"#),
        field("requests.bandwidth.size")
    );
    assert_eq!(
        put(r#"{"requests": {"bandwidth": {"size": 0}}}"#),
        field("requests.bandwidth.size")
    );
    assert_eq!(
        put(r#"{"requests": {"operations": {"size": "1"}}}"#),
        field("requests.operations.size")
    );
    let array = (400, "invalid_field".to_owned(), None);
    for body in [
        "[]",
        " [null]",
        r#"{"requests": [null]}"#,
        r#"{"requests": {"bandwidth": [1]}}"#,
    ] {
        let (status, code, _) = put(body);
        assert_eq!((status, code, None), array, "{body}");
    }
    assert_eq!(problem("PUT", "/v1/devices/blk0/size", "[]"), array);
    let text = r#"{"direct\"[ory": 1}"#;
    assert_eq!(
        problem("PUT", "/v1/devices/blk0/size", text),
        field("direct\"[ory")
    );
    let balloon = |body: &str| problem("PUT", "/v1/balloon", body);
    assert_eq!(balloon("{}"), field("target_bytes"));
    assert_eq!(balloon(r#"{"target_bytes": -1}"#), field("target_bytes"));
    assert_eq!(balloon(r#"{"target_bytes": 4096}"#), field("target_bytes"));
    assert_eq!(
        balloon(r#"{"target_bytes": 1048576, "target_bytes": 0}"#),
        field("target_bytes")
    );
    assert_eq!(
        balloon(r#"{"target_bytes": 1073741824}"#),
        (409, "impossible_value".into(), Some("target_bytes".into()))
    );
    let memory = |body: &str| problem("PUT", "/v1/memory", body);
    assert_eq!(
        memory(r#"{"target_bytes": 268435457}"#),
        field("target_bytes")
    );
    assert_eq!(
        memory(r#"{"target_bytes": 2251799813685248}"#),
        field("target_bytes")
    );
    for bytes in [0_u64, (256 << 20) + 4096, 2 << 30] {
        assert_eq!(
            memory(&format!(r#"{{"target_bytes": {bytes}}}"#)),
            (409, "impossible_value".into(), Some("target_bytes".into()))
        );
    }
    assert_eq!(
        problem("POST", "/v1/machine/stop", r#"{"timeout_seconds": 86401}"#),
        field("timeout_seconds")
    );
}

#[test]
fn memory_is_what_it_was_set_to() {
    let served = Served::fake();
    let client = served.client();
    let body = MemoryTarget {
        target_bytes: 768 << 20,
    };
    let put: Memory = client.put("/v1/memory", &body).unwrap();
    assert_eq!((put.boot_bytes, put.actual_bytes), (256 << 20, 768 << 20));
    assert_eq!(client.get::<Memory>("/v1/memory").unwrap(), put);
}

#[test]
fn a_disk_grows_and_never_shrinks() {
    let served = Served::fake();
    let client = served.client();
    let path = "/v1/devices/blk0/size";
    let size_bytes = 1 << 20;
    assert_eq!(
        client.get::<DiskSize>(path).unwrap(),
        DiskSize { size_bytes }
    );
    let again: DiskSize = client.put(path, &DiskResize::default()).unwrap();
    assert_eq!(again, DiskSize { size_bytes });
    let size_bytes = 3 << 20;
    let wanted = DiskResize {
        size_bytes: Some(size_bytes),
    };
    let larger: DiskSize = client.put(path, &wanted).unwrap();
    assert_eq!(larger, DiskSize { size_bytes });
    assert_eq!(client.get::<DiskSize>(path).unwrap(), larger);
    let put = |body: &str| problem("PUT", path, body);
    let wrong = (
        400,
        "invalid_field".to_owned(),
        Some("size_bytes".to_owned()),
    );
    for bytes in ["0", "-1", "511", "1048577", "1125899906843136", "\"1M\""] {
        assert_eq!(
            put(&format!(r#"{{"size_bytes": {bytes}}}"#)),
            wrong,
            "{bytes}"
        );
    }
    let smaller = (409, "impossible_value".into(), Some("size_bytes".into()));
    assert_eq!(put(r#"{"size_bytes": 512}"#), smaller);
    for (name, status) in [("rng0", 404), ("blk7", 404)] {
        let path = format!("/v1/devices/{name}/size");
        assert_eq!(problem("PUT", &path, "{}").0, status);
        assert_eq!(problem("GET", &path, "").0, status);
    }
}

#[test]
fn what_is_no_json_is_said() {
    let put = |body: &str| problem("PUT", "/v1/balloon", body);
    let invalid = (400, "invalid_json".to_owned(), None);
    assert_eq!(put("{"), invalid);
    assert_eq!(put("{\"target_bytes\": 0} x"), invalid);
    assert_eq!(put("\u{0}\u{1}"), invalid);
    assert_eq!(put(&"[".repeat(10_000)).0, 400);
    assert_eq!(put(""), (400, "missing_body".into(), None));
}

#[test]
fn what_there_is_not_is_said() {
    assert_eq!(problem("GET", "/v2", "").1, "not_found");
    assert_eq!(problem("DELETE", "/v1/machine", "").1, "method_not_allowed");
    assert_eq!(problem("GET", "/v1/devices/blk7", "").1, "no_such_device");
    assert_eq!(
        problem("GET", "/v1/devices/rng0/limits", "").1,
        "no_such_device"
    );
    assert_eq!(problem("GET", "/v1/machine?x=1", "").1, "unexpected_query");
    assert_eq!(
        problem("POST", "/v1/machine/pause", "{}").1,
        "unexpected_body"
    );
}

#[test]
fn limits_change_at_once() {
    let api = Api::new(Arc::new(FakeMachine::new()));
    let body = r#"{"requests": {"bandwidth": {"size": 1048576}}}"#;
    let (status, body) = answer_of(&api, "PUT", "/v1/devices/blk0/limits", body);
    assert_eq!(status, 200);
    let bandwidth = json!({"size": 1048576, "burst": 0, "refill_milliseconds": 1000});
    assert_eq!(body["requests"]["bandwidth"], bandwidth);
    let (_, body) = answer_of(&api, "GET", "/v1/devices/blk0", "");
    assert_eq!(body["limits"]["requests"]["bandwidth"], bandwidth);
}

#[test]
fn a_body_of_64_kibibytes_is_the_largest() {
    let body = |length: usize| format!("{{\"target_bytes\": 0{}}}", " ".repeat(length - 19));
    assert_eq!(answer("PUT", "/v1/balloon", &body(64 << 10)).0, 200);
    let put = problem("PUT", "/v1/balloon", &body((64 << 10) + 1));
    assert_eq!(put, (413, "too_large".into(), None));
}

#[test]
fn a_body_that_is_too_large_does_not_hide_its_answer() {
    let served = Served::fake();
    for length in [65_537, 200_000, 1_000_000] {
        let text = json!("x".repeat(length));
        let error = served
            .client()
            .put::<Value>("/v1/balloon", &text)
            .unwrap_err();
        let ClientError::Refused(problem) = error else {
            panic!("{error}: {:?}", std::error::Error::source(&error));
        };
        assert_eq!((problem.status, problem.code.as_str()), (413, "too_large"));
    }
}

#[test]
fn another_kind_of_body_is_refused() {
    let api = Api::new(Arc::new(FakeMachine::new()));
    let request = "PUT /v1/balloon HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\n\
                   content-length: 2\r\n\r\n{}";
    let answer = String::from_utf8(api.answer(request.as_bytes()).unwrap()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}");
    assert!(
        answer.contains("must be of the type application/json"),
        "{answer}"
    );
}

#[test]
fn a_body_that_ends_early_is_an_error_of_the_client() {
    let api = Api::new(Arc::new(FakeMachine::new()));
    let request = "PUT /v1/balloon HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\n\r\n{";
    let answer = String::from_utf8(api.answer(request.as_bytes()).unwrap()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("\"truncated\""), "{answer}");
}

#[test]
fn requests_follow_each_other_on_a_connection() {
    let api = Api::new(Arc::new(FakeMachine::new()));
    let request = "GET /v1/machine HTTP/1.1\r\nhost: x\r\n\r\n".repeat(3);
    let answer = String::from_utf8(api.answer(request.as_bytes()).unwrap()).unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
}

#[test]
fn what_is_no_http_is_answered_and_closed() {
    let api = Api::new(Arc::new(FakeMachine::new()));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000));
    for (bytes, status) in [
        ("\u{16}\u{3}\u{1}", "400"),
        ("GET / HTTP/9.9\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n", "400"),
        (long.as_str(), "431"),
        (many.as_str(), "431"),
    ] {
        let answer = String::from_utf8(api.answer(bytes.as_bytes()).unwrap()).unwrap();
        let start = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&start) || answer.is_empty(), "{answer}");
    }
}

#[test]
fn a_client_gets_what_it_asked_for() {
    let served = Served::fake();
    let client = served.client();
    let machine: MachineInfo = client.get("/v1/machine").unwrap();
    assert_eq!(machine.name, "fake");
    let error = client.get::<Value>("/v1/nothing").unwrap_err();
    let ClientError::Refused(problem) = error else {
        panic!("{error}");
    };
    assert_eq!((problem.status, problem.code.as_str()), (404, "not_found"));
    assert!(
        client
            .text("GET", "/v1/metrics", None)
            .unwrap()
            .starts_with("# TYPE")
    );
}

#[test]
fn a_stream_begins_with_the_state_and_tells_what_happens() {
    let served = Served::fake();
    let mut events = served.client().events().unwrap();
    let mut next = || events.next().map(|event| event.unwrap());
    let first = next().unwrap();
    assert_eq!(
        (first.kind.as_str(), first.detail.as_deref()),
        ("state", Some("running"))
    );
    let _: MachineInfo = served.client().post("/v1/machine/pause", None).unwrap();
    assert_eq!(next().unwrap().kind, "pause");
    served.machine.stop();
    assert_eq!(next(), None);
}

#[test]
fn a_reader_that_is_slow_is_told_what_it_lost() {
    let (sender, mut events) = tokio::sync::mpsc::channel(2);
    let streams = Streams::new();
    streams.add(sender);
    let event = |number: u32| Event {
        kind: number.to_string(),
        ..Event::default()
    };
    for number in 0..5 {
        streams.give(&event(number));
    }
    let mut kinds = |count: usize| -> Vec<(String, Option<String>)> {
        let mut read = || events.try_recv().unwrap();
        (0..count)
            .map(|_| read())
            .map(|event| (event.kind, event.detail))
            .collect()
    };
    assert_eq!(kinds(2), [("0".into(), None), ("1".into(), None)]);
    streams.give(&event(5));
    assert_eq!(
        kinds(2),
        [("lost".into(), Some("3".into())), ("5".into(), None)]
    );
}

#[test]
fn there_are_only_so_many_connections_and_streams() {
    let limits = Limits {
        connections: 2,
        streams: 1,
        ..Limits::default()
    };
    let served = Served::new(FakeMachine::new(), limits);
    let mut first = served.client().events().unwrap();
    first.next().unwrap().unwrap();
    let error = served.client().events().unwrap_err();
    assert!(
        matches!(error, ClientError::Protocol(ref status) if status == "status 503"),
        "{error}"
    );
    // The one that was refused may still be there for a moment.
    let _second = served.connect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut text = String::new();
        let mut third = served.connect();
        third
            .write_all(b"GET /v1/machine HTTP/1.1\r\n\r\n")
            .unwrap();
        third.shutdown(std::net::Shutdown::Write).unwrap();
        third.read_to_string(&mut text).unwrap();
        if text.contains("too many connections") {
            break;
        }
        assert!(Instant::now() < deadline, "{text}");
    }
}

#[test]
fn a_client_that_sends_nothing_is_let_go() {
    let limits = Limits {
        patience: Duration::from_millis(50),
        ..Limits::default()
    };
    let served = Served::new(FakeMachine::new(), limits);
    let mut silent = served.connect();
    assert_eq!(silent.read(&mut [0; 64]).unwrap(), 0);
    let mut slow = served.connect();
    slow.write_all(b"GET /v1/machine HT").unwrap();
    let mut rest = String::new();
    slow.read_to_string(&mut rest).unwrap();
    assert!(
        rest.is_empty() || rest.starts_with("HTTP/1.1 408"),
        "{rest}"
    );
    let mut half = served.connect();
    half.write_all(b"PUT /v1/balloon HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
        .unwrap();
    let mut answer = String::new();
    half.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"timeout\""), "{answer}");
}

#[test]
fn a_guest_that_was_asked_to_stop_is_stopped_later() {
    let served = Served::fake();
    let body = serde_json::to_value(StopRequest {
        timeout_seconds: Some(1),
    })
    .unwrap();
    for _ in 0..3 {
        let _: MachineInfo = served
            .client()
            .post("/v1/machine/stop", Some(&body))
            .unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    while !served.machine.calls().contains(&"stop") {
        assert!(Instant::now() < deadline, "{:?}", served.machine.calls());
        std::thread::sleep(Duration::from_millis(5));
    }
    let stops = |calls: &[&str]| calls.iter().filter(|call| **call == "stop").count();
    assert_eq!(stops(&served.machine.calls()), 1);
}

#[test]
fn a_server_that_ends_lets_answers_out_and_its_socket_goes() {
    let served = Served::fake();
    let client = served.client();
    let mut events = client.events().unwrap();
    events.next().unwrap().unwrap();
    let machine: MachineInfo = client
        .post("/v1/machine/stop", Some(&json!({"timeout_seconds": 0})))
        .unwrap();
    assert_eq!(machine.state, MachineState::Ended);
    served.server.stop(PATIENCE);
    assert!(events.next().is_none());
    assert!(!served.socket.exists());
    assert!(matches!(
        client.get::<Value>("/v1/machine"),
        Err(ClientError::Connect { .. })
    ));
    drop(served.folder);
}
