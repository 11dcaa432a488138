//! The process under test, and a client of it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take, on a slow host too.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// How often to look.
const LOOK: Duration = Duration::from_millis(5);

/// The binary under test, or the one that was taken to another machine with the tests.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("VMMKIT_FIRECRACKER_BIN").map_or_else(
        || env!("CARGO_BIN_EXE_vmmkit-firecracker").into(),
        PathBuf::from,
    )
}

/// A folder of its own, gone after the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vmmkit-fc-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.0.join(name), content).unwrap();
        self.path(name)
    }

    /// A configuration file that boots `kernel`.
    pub(crate) fn config(&self, kernel: &[u8]) -> String {
        let kernel = self.file("kernel", kernel);
        let source = format!(r#"{{"kernel_image_path": "{kernel}"}}"#);
        self.file(
            "config",
            format!(r#"{{"boot-source": {source}, "drives": []}}"#),
        )
    }
}

/// The body of the load of what was [saved](Process::saves) with the memory in `mem`; `more` are fields, each behind a
/// comma.
pub(crate) fn load(folder: &Folder, more: &str) -> String {
    let (state, memory) = (folder.path("state"), folder.path("mem"));
    format!(
        r#"{{"snapshot_path": "{state}", "mem_backend": {{"backend_type": "File", "backend_path": "{memory}"}}{more}}}"#
    )
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process, killed at the end of its test.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) socket: String,
}

impl Process {
    /// One with an API, which is there.
    pub(crate) fn serving(folder: &Folder, words: &[&str]) -> Self {
        let socket = folder.path("api.socket");
        let mut command = Command::new(program());
        command
            .args(["--api-sock", &socket, "--id", "vm1"])
            .args(words);
        let process = Self::start(&mut command, socket);
        process.waits("the socket", || UnixStream::connect(&process.socket).ok());
        process
    }

    /// One in the place of another that had the same socket, without a log.
    pub(crate) fn serving_again(folder: &Folder) -> Self {
        let _ = fs::remove_file(folder.path("api.socket"));
        Self::serving(folder, &["--level", "Off"])
    }

    /// Pauses its machine and saves it: the state, and the memory to the file `memory`.
    pub(crate) fn saves(&self, folder: &Folder, kind: &str, memory: &str) {
        self.does("PATCH", "/vm", r#"{"state": "Paused"}"#);
        let (state, memory) = (folder.path("state"), folder.path(memory));
        self.does(
            "PUT",
            "/snapshot/create",
            &format!(
                r#"{{"snapshot_type": "{kind}", "snapshot_path": "{state}", "mem_file_path": "{memory}"}}"#
            ),
        );
    }

    pub(crate) fn start(command: &mut Command, socket: String) -> Self {
        let streams = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = streams.spawn().unwrap();
        Self { child, socket }
    }

    pub(crate) fn waits<T>(&self, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(found) = found() {
                return found;
            }
            assert!(Instant::now() < deadline, "{what} never came");
            thread::sleep(LOOK);
        }
    }

    /// The answer to one request: its status, and its body.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.to_lowercase().contains("server: firecracker api"),
            "{head}"
        );
        (
            head.split(' ').nth(1).unwrap().parse().unwrap(),
            body.to_owned(),
        )
    }

    pub(crate) fn does(&self, method: &str, path: &str, body: &str) {
        assert_eq!(
            self.ask(method, path, body),
            (204, String::new()),
            "{method} {path} {body}"
        );
    }

    /// Reads its stdout until `text`; all of it.
    pub(crate) fn says(&mut self, text: &str) -> String {
        let mut said = Vec::new();
        let mut byte = [0];
        while self.child.stdout.as_mut().unwrap().read(&mut byte).unwrap() == 1 {
            said.push(byte[0]);
            if said.ends_with(text.as_bytes()) {
                return String::from_utf8(said).unwrap();
            }
        }
        panic!("{text} never came: {}", String::from_utf8_lossy(&said));
    }

    pub(crate) fn types(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    pub(crate) fn ends(&mut self) -> ExitStatus {
        self.ends_within(LIMIT)
    }

    pub(crate) fn ends_within(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it never ended");
            thread::sleep(LOOK);
        }
    }

    /// The names of its threads.
    pub(crate) fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
        let names = tasks.filter_map(|task| name(task.ok()?));
        names.map(|name| name.trim_end().to_owned()).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
