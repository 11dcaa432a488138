//! The control API against its own OpenAPI document, by schemathesis (PyPI), which makes requests out
//! of the document, right and wrong ones, and checks the answers. tools/check installs it and names it
//! in `VMMKIT_SCHEMATHESIS`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use support::has_kvm;
use support::running::{Place, waiting_guest};
use vmmkit_control::fake::{FakeMachine, Folder};
use vmmkit_control::{Api, Listening, Server};

/// Requests per operation and phase.
const EXAMPLES: &str = "100";

/// Lets TCP clients at the UNIX socket at `path`, for as long as the test runs.
fn let_in(path: &Path) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let path = path.to_owned();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = UnixStream::connect(&path).unwrap();
            let (back, forth) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || pass(server, back));
            thread::spawn(move || forward(client, forth));
        }
    });
    address
}

fn pass(mut server: UnixStream, mut client: TcpStream) {
    let _ = io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
}

fn forward(mut client: TcpStream, mut server: UnixStream) {
    let _ = io::copy(&mut client, &mut server);
    let _ = server.shutdown(Shutdown::Both);
}

/// Tests the API at `address`, but for the operations at `left_out`.
fn conforms(program: &Path, address: SocketAddr, left_out: &[&str]) {
    let folder = Folder::new();
    let mut command = Command::new(program);
    command
        .arg("run")
        .arg(format!("http://{address}/v1/openapi.json"))
        .args(["--seed", "1", "--no-color", "--max-examples", EXAMPLES])
        .args(["--request-timeout", "30", "--checks", "all"])
        .current_dir(folder.path());
    for path in left_out {
        command.args(["--exclude-path", path]);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("No issues found"), "{text}");
}

/// schemathesis; says so where it is not there.
#[expect(clippy::print_stderr, reason = "a skip is loud")]
fn schemathesis(test: &str) -> Option<PathBuf> {
    let program = std::env::var_os("VMMKIT_SCHEMATHESIS").map(PathBuf::from);
    if program.is_none() {
        eprintln!("SKIPPED: {test}: VMMKIT_SCHEMATHESIS names no schemathesis (tools/check does)");
    }
    program
}

#[test]
fn every_operation_is_as_documented() {
    let Some(program) = schemathesis("every_operation_is_as_documented") else {
        return;
    };
    let folder = Folder::new();
    let socket = folder.path().join("s");
    let api = Api::new(Arc::new(FakeMachine::endless()));
    let server = Server::start(api, vec![Listening::at(&socket).unwrap()]).unwrap();
    // A stream has no end that schemathesis could wait for.
    conforms(&program, let_in(&socket), &["/v1/events"]);
    server.stop(Duration::from_secs(1));
}

#[test]
fn a_guest_that_runs_is_as_documented() {
    let name = "a_guest_that_runs_is_as_documented";
    let Some(program) = schemathesis(name) else {
        return;
    };
    if !has_kvm(name) {
        return;
    }
    let place = Place::new("conforms", &waiting_guest());
    let disk = place.folder.file("disk", vec![0; 1 << 20]);
    let disk = disk.to_str().unwrap();
    let options = [
        "--memory",
        "64M,max=320M",
        "--rng",
        "--balloon",
        "--disk",
        disk,
    ];
    let mut guest = place.guest("web", &options);
    let address = let_in(&place.socket("web"));
    conforms(&program, address, &["/v1/events", "/v1/machine/stop"]);
    assert_eq!(guest.child.try_wait().unwrap(), None, "it lives");
    place.says(&["stop", "-n", "web", "--timeout", "0"]);
    assert_eq!(guest.ends().code(), Some(0));
}
