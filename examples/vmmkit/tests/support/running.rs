//! Guests that run, in a runtime folder of the test's own.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Folder, elf, vmmkit};

/// How long anything may take, on a slow host too.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// How often to look.
const LOOK: Duration = Duration::from_millis(5);

/// A kernel that does nothing for ever: jmp to itself.
pub(crate) fn spinning_guest() -> Vec<u8> {
    elf(&[0xeb, 0xfe])
}

/// A kernel that waits for ever: hlt, and again.
pub(crate) fn waiting_guest() -> Vec<u8> {
    elf(&[0xf4, 0xeb, 0xfd])
}

/// A runtime folder with nothing in it, and a kernel.
pub(crate) struct Place {
    pub(crate) folder: Folder,
    kernel: PathBuf,
}

impl Place {
    pub(crate) fn new(name: &str, kernel: &[u8]) -> Self {
        let folder = Folder::new(name);
        let kernel = folder.file("kernel", kernel);
        let run = folder.path().join("run");
        DirBuilder::new().mode(0o700).create(&run).unwrap();
        Self { folder, kernel }
    }

    /// vmmkit with these words, in this place.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(vmmkit());
        command
            .args(words)
            .env("XDG_RUNTIME_DIR", self.folder.path().join("run"));
        command
    }

    /// Does what `words` say.
    pub(crate) fn does(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// The same, which must go well; what it wrote.
    pub(crate) fn says(&self, words: &[&str]) -> String {
        let output = self.does(words);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same, which must fail; its exit code and what it wrote to stderr.
    pub(crate) fn fails(&self, words: &[&str]) -> (Option<i32>, String) {
        let output = self.does(words);
        assert!(!output.status.success(), "{words:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), error)
    }

    /// Stops a guest that does not hear the power button, which `stop` says by its code.
    pub(crate) fn cuts_off(&self, name: &str) {
        let output = self.does(&["stop", "-n", name]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{said}");
    }

    /// Starts a guest, without waiting for it.
    pub(crate) fn start(&self, arguments: &[&str]) -> Guest {
        Self::spawn(self.run(arguments))
    }

    /// The command that runs a guest.
    pub(crate) fn run(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&["run", "--quiet"]);
        if !arguments.contains(&"--memory") {
            command.args(["--memory", "16M"]);
        }
        command.arg("--kernel").arg(&self.kernel).args(arguments);
        command
    }

    /// Restores a guest, without waiting for it.
    pub(crate) fn restores(&self, folder: &str, arguments: &[&str]) -> Guest {
        let mut command = self.command(&["restore", folder, "--quiet"]);
        command.args(arguments);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Guest {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Guest { child }
    }

    /// Starts a guest called `name`, and waits until it answers.
    pub(crate) fn guest(&self, name: &str, arguments: &[&str]) -> Guest {
        let guest = self.start(&[&["--name", name], arguments].concat());
        wait_for(&format!("{name} answers"), || {
            self.does(&["stat", "-n", name]).status.success()
        });
        guest
    }

    /// The socket of a guest's API.
    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.instances().join(name).join("api.sock")
    }

    /// The folder with an entry for each guest.
    pub(crate) fn instances(&self) -> PathBuf {
        self.folder.path().join("run/vmmkit")
    }

    /// The names of all entries, living or not.
    pub(crate) fn entries(&self) -> Vec<String> {
        let entries = fs::read_dir(self.instances()).unwrap();
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
        // An entry that is not a directory is not a guest's: what was found out of a software KVM is kept there too.
        let folders = entries
            .map(Result::unwrap)
            .filter(|entry| entry.path().is_dir());
        folders.map(name).collect()
    }
}

/// A guest's process: killed with the test if it is still there.
pub(crate) struct Guest {
    pub(crate) child: Child,
}

impl Guest {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub(crate) fn ends(&mut self) -> ExitStatus {
        let mut status = None;
        wait_for("the guest ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Its resources on the host: descriptors, threads, and kilobytes of memory of its own.
    pub(crate) fn usage(&self) -> Usage {
        let process = PathBuf::from(format!("/proc/{}", self.pid()));
        let count = |folder: &str| fs::read_dir(process.join(folder)).unwrap().count();
        let status = fs::read_to_string(process.join("status")).unwrap();
        let anonymous = status.lines().find_map(|line| {
            let rest = line.strip_prefix("RssAnon:")?;
            rest.split_whitespace().next()?.parse().ok()
        });
        Usage {
            descriptors: count("fd"),
            threads: count("task"),
            anonymous: anonymous.unwrap(),
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Resources of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    /// Kilobytes of memory that is not a file's.
    pub(crate) anonymous: u64,
}

/// Waits until `condition` holds, and fails the test if it never does.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "it never came that {what}");
        thread::sleep(LOOK);
    }
}
