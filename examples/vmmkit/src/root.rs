//! `--root`: a directory of the host as the guest's root, and one command in it.

mod command;
mod lines;

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use vmmkit_guest_init::{Task, initramfs};
use vmmkit_machine_spec::{ConsoleSpec, DeviceSpec, MachineSpec, RootSpec};
use vmmkit_vmm::{Boot, Initrd, MachineConfig};

use crate::failure::Failure;
pub(crate) use command::{code, code_of, end_by, plug};

/// The tag of the directory.
const TAG: &str = "root";
const SHELL: &str = "/bin/sh";

/// A directory as the root, and the command to run.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub(crate) spec: RootSpec,
    /// Empty for a login shell.
    pub(crate) command: Vec<String>,
    /// Both stdin and stdout are a terminal, and the guest's is it.
    terminal: bool,
}

impl Root {
    /// The root `spec` with the words of a command, of a guest that is detached or is not; `others` are options that do not
    /// go with it, and whether they are given.
    pub(crate) fn of(
        spec: Option<RootSpec>,
        command: &[String],
        is_detached: bool,
        others: &[(&str, bool)],
    ) -> Result<Option<Self>, Failure> {
        let Some(spec) = spec else {
            return match command.first() {
                Some(word) => Err(Failure::usage(
                    format!("{word}: a command is run with --root only"),
                    "give a directory by --root, such as --root /, before the command",
                )),
                None => Ok(None),
            };
        };
        if let Some((option, _)) = others.iter().find(|(_, is_given)| *is_given) {
            return Err(Failure::usage(
                format!("{option} cannot be used with --root"),
                format!("omit either {option} or --root"),
            ));
        }
        let terminal = !is_detached && io::stdin().is_terminal() && io::stdout().is_terminal();
        let command = command.to_owned();
        Ok(Some(Self {
            spec,
            command,
            terminal,
        }))
    }

    /// Has the kernel's messages apart from the command's output, and a console at the terminal.
    pub(crate) fn shape(&self, spec: &mut MachineSpec) {
        spec.serial.get_or_insert(ConsoleSpec::Null);
        if self.terminal && !spec.has_virtio_stdio() {
            spec.devices.push(DeviceSpec::Console(ConsoleSpec::Stdio));
        }
    }

    /// Gives the machine an initial RAM disk whose init runs the command.
    pub(crate) fn boot(&self, machine: &mut MachineConfig) -> Result<(), Failure> {
        let archive = initramfs(&self.task(&machine.name));
        let archive = archive.map_err(|error| {
            self.failed(
                &error,
                "give a shorter command, or fewer variables (env -i)",
            )
        })?;
        if let Boot::Kernel(kernel) = &mut machine.boot {
            kernel.initrd = Some(Initrd::from(archive));
        }
        Ok(())
    }

    fn failed(&self, error: &dyn std::error::Error, next: &str) -> Failure {
        Failure::host(&format!("--root {}", self.spec), error, next)
    }

    fn task(&self, name: &str) -> Task {
        let arguments = match self.command.as_slice() {
            [] => vec![shell(&self.spec.directory), "-l".into()],
            words => words.iter().map(Into::into).collect(),
        };
        let mut task = Task::new(TAG, arguments);
        task.writable = self.spec.writable;
        task.environment = std::env::vars_os().collect();
        task.directory = within(&self.spec.directory).into();
        task.uid = rustix::process::getuid().as_raw();
        task.gid = rustix::process::getgid().as_raw();
        task.terminal = self.terminal;
        name.clone_into(&mut task.host_name);
        task
    }
}

/// The working directory, as it is called in the root `directory`; the root itself, where it is not in it.
fn within(directory: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    let root = std::fs::canonicalize(directory).unwrap_or_default();
    let rest = here.strip_prefix(root).unwrap_or(Path::new(""));
    Path::new("/").join(rest)
}

/// The user's shell, where the root `directory` has it too.
fn shell(directory: &Path) -> OsString {
    let own = std::env::var_os("SHELL").filter(|shell| {
        let path = Path::new(shell).strip_prefix("/");
        path.is_ok_and(|path| directory.join(path).exists())
    });
    own.unwrap_or(SHELL.into())
}
