//! `connect` and `ssh`: a guest's vsock ports from here.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use vmmkit_control::MachineInfo;
use vmmkit_process::relay_stdio;
use vmmkit_virtio_devices::{VsockConnectError, connect_vsock};

use super::ask::Target;
use super::nothing_more;
use super::options::{ConnectOptions, Guest, SshOptions};
use crate::failure::{Failure, chain};
use crate::os_text::quoted;
use crate::{detach, exit_code};

/// How long a guest may take to accept.
const PATIENCE: Duration = Duration::from_secs(10);
/// The port of a guest's ssh server: that of systemd's, among others.
const SSH: &str = "22";

/// Connects stdin and stdout to a port of a guest.
pub(super) fn connect(options: &ConnectOptions) -> Result<ExitCode, Failure> {
    let (one, words) = options.one.split(&options.words);
    let Some((port, rest)) = words.split_first() else {
        return Err(Failure::usage(
            "PORT: it is missing",
            "name a vsock port of the guest, such as `vmmkit connect NAME 22`",
        ));
    };
    nothing_more(rest)?;
    // `parse` takes a plus sign.
    let digits = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|port| port.parse::<u32>().ok());
    let number = number.ok_or_else(|| {
        let what = format!("connect {port:?}: this is not a port");
        Failure::usage(what, "give a number from 0 to 4294967295")
    })?;
    let target = one.target()?;
    let socket = socket(&target)?;
    let stream = connect_vsock(Path::new(&socket), number, PATIENCE);
    let stream = stream.map_err(|error| refused(&target, &error))?;
    relay_stdio(stream).map_err(|error| {
        Failure::host(
            "connect",
            &error,
            "raise the limit of processes (ulimit -u)",
        )
    })?;
    Ok(exit_code::SUCCESS.into())
}

fn called(target: &Target) -> &str {
    target.name.as_ref().unwrap_or(&target.option)
}

/// The socket at which the host reaches the guest's ports.
fn socket(target: &Target) -> Result<String, Failure> {
    let machine = target.client().get::<MachineInfo>("/v1/machine");
    let machine = machine.map_err(|error| target.refused(error))?;
    machine.vsock_socket.ok_or_else(|| {
        Failure::because(
            format!("{}: it has no vsock device", called(target)),
            Vec::new(),
            "start it with --vsock cid=3,socket=PATH",
        )
    })
}

fn refused(target: &Target, error: &VsockConnectError) -> Failure {
    let mut reasons = chain(error);
    let what = format!("{}: {}", called(target), reasons.remove(0));
    let next = match error {
        VsockConnectError::Refused(_) => {
            "start a server in the guest that listens on that vsock port, or wait until it has booted"
        }
        _ => "`vmmkit stat` shows whether the guest's driver is ready",
    };
    Failure::because(what, reasons, next)
}

/// Becomes an ssh client whose connection is a vsock port of the guest.
pub(super) fn ssh(options: &SshOptions) -> Result<ExitCode, Failure> {
    let (user, name) = match options.destination.rsplit_once('@') {
        Some((user, name)) => (Some(user), name),
        None => (None, &*options.destination),
    };
    let guest = Guest {
        name: Some(name.to_owned()),
        api_socket: None,
    };
    let target = guest.split(&[]).0.target()?;
    socket(&target)?;
    let program = detach::itself(&std::env::args_os().next().unwrap_or_default());
    let program = quoted(&program.to_string_lossy());
    // ssh gives it to a shell, and takes a percent sign for itself (ssh_config(5), TOKENS).
    let proxy = format!("{program} connect {name} {SSH}").replace('%', "%%");
    let mut command = Command::new("ssh");
    command.args(["-o", &format!("ProxyCommand={proxy}")]);
    if let Some(user) = user {
        command.args(["-l", user]);
    }
    let error = command.arg("--").arg(name).args(&options.words).exec();
    Err(match error.kind() {
        io::ErrorKind::NotFound => Failure::because(
            "ssh: there is no such program".to_owned(),
            Vec::new(),
            "install an OpenSSH client (Debian: apt install openssh-client)",
        ),
        _ => Failure::host("ssh", &error, "see whether `ssh -V` runs"),
    })
}
