use std::io::{Read, Write};
use std::time::Instant;

use super::super::tests::Served;
use super::*;
use crate::fake::FakeMachine;
use crate::server::Limits;
use crate::{Client, ClientError, ConsoleOutput, Controlled};

const PATIENCE: Duration = Duration::from_secs(60);

fn print(served: &Served, bytes: &[u8]) {
    served.machine.console().unwrap().append(bytes);
}

/// Reads until `count` bytes are there, or the end.
fn read(output: &mut ConsoleOutput, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    output.take(count as u64).read_to_end(&mut bytes).unwrap();
    bytes
}

/// Waits for what the server does in its own time.
fn until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
}

fn code(refused: Result<impl Sized, ClientError>) -> String {
    match refused {
        Err(ClientError::Refused(problem)) => problem.code,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was not refused"),
    }
}

#[test]
fn the_log_is_the_last_output() {
    let served = Served::fake();
    assert_eq!(served.client().console_log().unwrap(), b"");
    print(&served, b"\x1b[1mlogin\xff: ");
    assert_eq!(
        served.client().console_log().unwrap(),
        b"\x1b[1mlogin\xff: "
    );
}

#[test]
fn output_is_replayed_and_followed_to_the_end_by_several() {
    let served = Served::fake();
    print(&served, b"before");
    let mut one = served.client().console_output().unwrap();
    let mut other = served.client().console_output().unwrap();
    assert_eq!((one.replayed(), other.replayed()), (6, 6));
    assert_eq!(read(&mut one, 6), b"before");
    print(&served, b" and after");
    assert_eq!(read(&mut one, 10), b" and after");
    print(&served, b"!");
    served.server.stop(PATIENCE);
    assert_eq!(read(&mut one, 99), b"!");
    assert_eq!(read(&mut other, 99), b"before and after!");
}

#[test]
fn a_reader_that_takes_nothing_is_kept_and_told_what_it_has_missed() {
    let limits = Limits {
        // One of another answer would be gone.
        patience: Duration::from_millis(1),
        ..Limits::default()
    };
    let served = Served::new(FakeMachine::new(), limits);
    let mut stream = served.connect();
    stream
        .write_all(b"GET /v1/console/output HTTP/1.0\r\nhost: x\r\n\r\n")
        .unwrap();
    let mut head = [0; 16];
    stream.read_exact(&mut head).unwrap();
    // Much more than the socket and the server hold.
    for _ in 0..200 {
        print(&served, &[b'x'; 32 << 10]);
        std::thread::yield_now();
    }
    print(&served, b"the end");
    served.server.stop(Duration::ZERO);
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let text = String::from_utf8_lossy(&all);
    assert!(text.contains(" bytes of output were lost here]\r\n"));
    assert!(text.ends_with("the end"));
    assert!(all.len() < 200 * (32 << 10));
}

#[test]
fn readers_are_so_many_and_one_that_leaves_makes_room() {
    let limits = Limits {
        streams: 2,
        ..Limits::default()
    };
    let served = Served::new(FakeMachine::new(), limits);
    let client = served.client();
    let first = client.console_output().unwrap();
    let _second = client.console_output().unwrap();
    assert_eq!(code(client.console_output()), "busy");
    // Events are others.
    assert!(client.events().is_ok());
    drop(first);
    until(|| client.console_output().is_ok());
}

#[test]
fn a_paste_reaches_the_console_whole() {
    let served = Served::fake();
    let paste: Vec<u8> = (0..200_000_u32).map(|it| it.to_le_bytes()[0]).collect();
    let mut output = served.client().console_output().unwrap();
    let mut input = served.client().console_input(false).unwrap();
    let mut heard = Vec::new();
    let mut left = &paste[..];
    while heard.len() < paste.len() {
        if input.is_flushed() && !left.is_empty() {
            let (some, rest) = left.split_at(left.len().min(5000));
            input.type_bytes(some).unwrap();
            left = rest;
        }
        input.flush().unwrap();
        let printed = served.machine.echo();
        heard.extend_from_slice(&read(&mut output, printed));
    }
    assert_eq!(heard, paste);
    input.finish().unwrap();
    assert!(input.end().is_none());
}

#[test]
fn one_types_until_another_takes_over() {
    let served = Served::fake();
    let client = served.client();
    let first = client.console_input(false).unwrap();
    assert_eq!(code(client.console_input(false)), "taken");
    let mut second = client.console_input(true).unwrap();
    match first.end() {
        Some(ClientError::Refused(problem)) => assert_eq!(problem.code, "taken"),
        other => panic!("{other:?}"),
    }
    second.type_bytes(b"second").unwrap();
    until(|| client.console_log().unwrap() == b"second");
    drop(second);
    until(|| client.console_input(false).is_ok());
}

#[test]
fn the_end_of_the_machine_is_that_of_the_typing() {
    let served = Served::fake();
    let mut input = served.client().console_input(false).unwrap();
    input.type_bytes(b"half a li").unwrap();
    served.server.stop(PATIENCE);
    assert!(input.end().is_none());
}

#[test]
fn a_client_of_http_alone_types_too() {
    let served = Served::fake();
    let mut stream = served.connect();
    let request = "POST /v1/console/input HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 3\r\n\r\nls\r";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(served.client().console_log().unwrap(), b"ls\r");
}

#[test]
fn the_size_reaches_the_machine_and_is_not_0() {
    let served = Served::fake();
    let client: Client = served.client();
    let size = ConsoleSize {
        columns: 80,
        rows: 24,
    };
    let told: ConsoleSize = client.put("/v1/console/size", &size).unwrap();
    assert_eq!(told, size);
    assert_eq!(served.machine.calls(), ["resize_console"]);
    let none = ConsoleSize { rows: 0, ..size };
    let refused = client.put::<ConsoleSize>("/v1/console/size", &none);
    assert_eq!(code(refused), "invalid_field");
}
