//! Requests to the control API: any bytes, and bodies of the operations that read one.

use std::sync::{Arc, LazyLock};

use vmmkit_control::Api;
use vmmkit_control::fake::FakeMachine;

static API: LazyLock<Api> = LazyLock::new(|| Api::new(Arc::new(FakeMachine::endless())));

/// The operations that read a body.
const READERS: [&str; 4] = [
    "PUT /v1/balloon",
    "PUT /v1/devices/blk0/limits",
    "POST /v1/machine/stop",
    "PUT /v1/memory",
];

/// Takes one input.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let mut request = Vec::new();
    if let Some(reader) = READERS.get(usize::from(*kind)) {
        let length = rest.len();
        let head = format!("{reader} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        request.extend_from_slice(head.as_bytes());
        request.extend_from_slice(rest);
    } else {
        request.extend_from_slice(data);
    }
    let answer = API.answer(&request).expect("the host has what it takes");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."));
    if usize::from(*kind) < READERS.len() {
        // A whole request with a body is always answered, with JSON.
        let start = answer.windows(4).position(|end| end == b"\r\n\r\n");
        let body = &answer[start.expect("the head of an answer ends") + 4..];
        assert!(
            body.starts_with(b"{"),
            "{:?}",
            String::from_utf8_lossy(&answer)
        );
    }
}
