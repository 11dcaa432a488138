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

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use support::has_kvm;
use support::running::{Place, waiting_guest};
use vmmkit_control::fake::{FakeMachine, Folder};
use vmmkit_control::{Api, Server};
use vmmkit_host_io::Listener;

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
    let server = Server::start(api, vec![Arc::new(Listener::bind(&socket).unwrap())]).unwrap();
    // A stream has no end that schemathesis could wait for.
    let endless = ["/v1/events", "/v1/console/output"];
    conforms(&program, let_in(&socket), &endless);
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
    // Snapshots would be written to any path of this host; the machine of the other test writes none. The guest
    // reads nothing that is typed.
    let left_out = [
        "/v1/events",
        "/v1/console/output",
        "/v1/console/input",
        "/v1/machine/stop",
        "/v1/machine/snapshot",
    ];
    conforms(&program, address, &left_out);
    assert_eq!(guest.child.try_wait().unwrap(), None, "it lives");
    place.says(&["stop", "-n", "web", "--timeout", "0"]);
    assert_eq!(guest.ends().code(), Some(0));
}

/// A page of metrics in Prometheus' text format as strictly as its parsers in use read it: a family is one
/// group with HELP and TYPE before its numbers, and no series is there twice. The series, with their values.
fn series_of(page: &str) -> BTreeMap<String, f64> {
    let mut series = BTreeMap::new();
    let (mut done, mut family) = (BTreeSet::new(), String::new());
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(done.insert(name.to_owned()), "{name} is there twice");
            assert!(!help.is_empty() && !help.ends_with('.'), "{line}");
            family = name.to_owned();
            let kind = lines.next().unwrap().strip_prefix("# TYPE ").unwrap();
            let (of, kind) = kind.split_once(' ').unwrap();
            assert_eq!(of, family);
            assert!(["counter", "gauge"].contains(&kind), "{kind}");
            assert_eq!(family.ends_with("_total"), kind == "counter", "{family}");
            assert!(
                lines.peek().unwrap().starts_with(&family),
                "{family} is empty"
            );
            continue;
        }
        let (one, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = one.strip_suffix('}').unwrap().split_once('{').unwrap();
        assert_eq!(name, family, "{line}");
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(
            name.starts_with("vmmkit_") && name.chars().all(is_name),
            "{line}"
        );
        for label in labels.split("\",") {
            let (label, value) = label.split_once("=\"").unwrap();
            assert!(label.chars().all(is_name), "{line}");
            assert!(!value.trim_end_matches('"').contains('"'), "{line}");
        }
        let value = value.parse().unwrap();
        assert!(
            series.insert(one.to_owned(), value).is_none(),
            "twice: {one}"
        );
    }
    series
}

#[test]
fn metrics_of_several_guests_are_one_page_that_prometheus_reads() {
    if !has_kvm("metrics_of_several_guests_are_one_page_that_prometheus_reads") {
        return;
    }
    let place = Place::new("one-page", &waiting_guest());
    let disk = place.folder.file("disk", vec![0; 1 << 20]);
    let disk = format!("{},readonly", disk.to_str().unwrap());
    let _guests = ["web", "db"].map(|name| place.guest(name, &["--disk", &disk, "--cpus", "2"]));
    let page = place.says(&["metrics", "--all"]);
    let series = series_of(&page);
    for (name, labels) in [
        ("ram_bytes", ""),
        ("state", ",state=\"running\""),
        ("rss_bytes", ""),
        ("cpu_seconds_total", ""),
        ("vcpu_seconds_total", ",vcpu=\"1\""),
        ("blk_read_bytes_total", ",device=\"blk0\""),
    ] {
        for guest in ["web", "db"] {
            let key = format!("vmmkit_{name}{{name=\"{guest}\"{labels}}}");
            assert!(series.contains_key(&key), "no {key} in {page}");
        }
    }
    assert_eq!(series["vmmkit_state{name=\"web\",state=\"running\"}"], 1.0);
    assert_eq!(series["vmmkit_state{name=\"web\",state=\"paused\"}"], 0.0);
    let info = "vmmkit_info{name=\"web\",version=\"";
    assert!(series.keys().any(|key| key.starts_with(info)), "{page}");
    check_with_promtool(&page);
}

/// By Prometheus' own tool, where the host has it.
#[expect(clippy::print_stderr, reason = "a skip is loud")]
fn check_with_promtool(page: &str) {
    let promtool = std::env::var_os("VMMKIT_PROMTOOL").unwrap_or_else(|| "promtool".into());
    let mut command = Command::new(promtool);
    let command = command.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("SKIPPED: the check by promtool: {error}");
            return;
        }
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(page.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success(), "{page}");
}
