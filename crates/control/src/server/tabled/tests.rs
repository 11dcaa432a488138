//! A server with a table of its embedder's, by its answers.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use parking_lot::Mutex as Lock;
use vmmkit_host_io::Listener;

use super::*;
use crate::fake::Folder;
use crate::{Server, Service};

const PATIENCE: Duration = Duration::from_secs(30);

/// Answers with what it was asked, and keeps it.
#[derive(Default)]
struct Echo {
    asked: Lock<Vec<Asked>>,
}

impl Table for Echo {
    fn answer(&self, asked: &Asked) -> Answer {
        self.asked.lock().push(asked.clone());
        let thread = std::thread::current();
        match asked.path.as_str() {
            "/panic" => panic!("as it was asked"),
            "/nothing" => Answer::new(204)
                .with_header("server", "Echo")
                .with_header("bad", "a\nb"),
            "/thread" => {
                Answer::new(200).with_body("text/plain", thread.name().unwrap_or_default())
            }
            "/status" => Answer::default(),
            _ => Answer::new(200).with_body("text/plain", asked.body.clone()),
        }
    }

    fn refuse(&self, fault: Fault) -> Answer {
        Answer::new(fault.status()).with_body("text/plain", format!("{fault:?}"))
    }
}

fn service(limits: Limits) -> (Arc<Echo>, Service) {
    let table = Arc::new(Echo::default());
    (table.clone(), Service::new(table, limits))
}

fn answer(request: &str) -> String {
    let (_, service) = service(Limits::default());
    String::from_utf8(service.answer(request.as_bytes()).unwrap()).unwrap()
}

/// A served table, and a connection to it.
fn served(limits: Limits) -> (Arc<Echo>, Server, Folder, impl Fn() -> UnixStream) {
    let folder = Folder::new();
    let socket = folder.path().join("s");
    let listener = Arc::new(Listener::bind(&socket).unwrap());
    let (table, service) = service(limits);
    let server = Server::start(service.on_thread("fc_api"), vec![listener]).unwrap();
    let connect = move || {
        let stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    (table, server, folder, connect)
}

fn all(mut stream: UnixStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_table_gets_the_whole_request() {
    let (table, service) = service(Limits::default());
    let request =
        "PUT /a%20b?c=d HTTP/1.1\r\nHost: x\r\nX-Token: t\r\ncontent-length: 3\r\n\r\nabc";
    let answer = String::from_utf8(service.answer(request.as_bytes()).unwrap()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/plain\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nabc"), "{answer}");
    let asked = table.asked.lock().pop().unwrap();
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("PUT", "/a%20b")
    );
    assert_eq!(asked.query.as_deref(), Some("c=d"));
    assert_eq!(asked.header("x-token"), Some("t"));
    assert_eq!(asked.header("none"), None);
    assert_eq!(asked.body, b"abc");
}

#[test]
fn an_answer_has_a_body_only_where_it_says_so() {
    let nothing = answer("GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(
        nothing.starts_with("HTTP/1.1 204 No Content\r\n"),
        "{nothing}"
    );
    assert!(nothing.contains("server: Echo\r\n"), "{nothing}");
    assert!(
        !nothing.contains("bad") && !nothing.contains("content-"),
        "{nothing}"
    );
    let unknown = answer("GET /status HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(unknown.starts_with("HTTP/1.1 500 "), "{unknown}");
}

#[test]
fn requests_are_answered_in_their_order() {
    let (table, service) = service(Limits::default());
    let requests: String = (0..20)
        .map(|number| format!("GET /{number} HTTP/1.1\r\nhost: x\r\n\r\n"))
        .collect();
    let answers = String::from_utf8(service.answer(requests.as_bytes()).unwrap()).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 20);
    let asked = table.asked.lock();
    let paths: Vec<String> = asked.iter().map(|asked| asked.path.clone()).collect();
    let expected: Vec<String> = (0..20).map(|number| format!("/{number}")).collect();
    assert_eq!(paths, expected);
}

#[test]
fn a_table_that_panics_is_asked_again() {
    let (_, service) = service(Limits::default());
    let requests = "GET /panic HTTP/1.1\r\nhost: x\r\n\r\nGET /nothing HTTP/1.1\r\nhost: x\r\n\r\n";
    let answers = String::from_utf8(service.answer(requests.as_bytes()).unwrap()).unwrap();
    assert!(answers.starts_with("HTTP/1.1 500 "), "{answers}");
    assert!(answers.contains("\r\n\r\nFailed"), "{answers}");
    assert!(answers.contains("HTTP/1.1 204 "), "{answers}");
}

#[test]
fn a_body_that_cannot_be_read_never_reaches_the_table() {
    let limits = Limits {
        body_bytes: 4,
        ..Limits::default()
    };
    let (table, service) = service(limits);
    let of =
        |request: &str| String::from_utf8(service.answer(request.as_bytes()).unwrap()).unwrap();
    let large = of("PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nabcde");
    assert!(large.starts_with("HTTP/1.1 413 "), "{large}");
    assert!(
        large.contains("TooLarge { most: 4, length: Some(5) }"),
        "{large}"
    );
    let chunked = "PUT / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n\
                   3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n";
    let chunked = of(chunked);
    assert!(
        chunked.contains("TooLarge { most: 4, length: None }"),
        "{chunked}"
    );
    let short = of("PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\na");
    assert!(short.starts_with("HTTP/1.1 400 "), "{short}");
    assert!(short.contains("Truncated"), "{short}");
    assert!(table.asked.lock().is_empty());
}

#[test]
fn a_client_that_drips_is_let_go_and_others_are_served() {
    let limits = Limits {
        patience: Duration::from_millis(50),
        ..Limits::default()
    };
    let (table, server, _folder, connect) = served(limits);
    let mut half = connect();
    half.write_all(b"PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
        .unwrap();
    let mut whole = connect();
    whole
        .write_all(b"GET /thread HTTP/1.1\r\nconnection: close\r\nhost: x\r\n\r\n")
        .unwrap();
    let whole = all(whole);
    assert!(whole.ends_with("\r\n\r\nfc_api"), "{whole}");
    let half = all(half);
    assert!(half.starts_with("HTTP/1.1 408 "), "{half}");
    assert!(half.contains("TooSlow"), "{half}");
    assert_eq!(table.asked.lock().len(), 1);
    server.stop(PATIENCE);
}

#[test]
fn a_client_too_many_is_told_in_the_tables_words() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let (_, server, _folder, connect) = served(limits);
    let mut first = connect();
    first
        .write_all(b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    let mut start = [0; 12];
    first.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 204");
    let second = connect();
    second.shutdown(std::net::Shutdown::Write).unwrap();
    let second = all(second);
    assert!(second.starts_with("HTTP/1.1 503 "), "{second}");
    assert!(second.ends_with("\r\n\r\nCrowded"), "{second}");
    drop(first);
    server.stop(PATIENCE);
}
