//! `--net user`: a passt process (passt(1)) of the guest's own.

use std::fmt;
use std::io::{self, PipeReader, Read};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use vmmkit_machine_spec::ForwardSpec;

/// The program, which is looked for in PATH.
const PROGRAM: &str = "passt";
/// The most bytes of a complaint.
const COMPLAINT: usize = 400;

/// A passt that was started. It ends when the other end of its socket is closed, however this process ends.
pub(crate) struct Passt {
    complaints: PipeReader,
}

impl Passt {
    /// Starts passt, at the other end of the socket, with ports of the host that lead to the guest.
    pub(crate) fn start(forward: &[ForwardSpec]) -> io::Result<(UnixStream, Self)> {
        // passt would end on its own, later.
        forward.iter().try_for_each(check)?;
        let (ours, its) = UnixStream::pair()?;
        let (complaints, stderr) = io::pipe()?;
        for fd in [
            OwnedFd::from(stderr.try_clone()?),
            complaints.try_clone()?.into(),
        ] {
            // One that complains without end is not held up, nor is who reads it.
            fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
        }
        let mut command = Command::new(PROGRAM);
        // The socket is its stdin, which is open in it already: no other descriptor has to be handed on.
        command.args(["--foreground", "--quiet", "--fd", "0"]);
        for port in forward {
            let option = if port.udp {
                "--udp-ports"
            } else {
                "--tcp-ports"
            };
            command.args([option, &format!("{}:{}", port.host, port.guest)]);
        }
        let child = command
            .stdin(OwnedFd::from(its))
            .stdout(Stdio::null())
            .stderr(stderr)
            // Ctrl-C at the terminal is for this process, which asks the guest to power off: it may need its network.
            .process_group(0)
            .spawn()?;
        // It is not waited for: the kernel takes its remains away with this process.
        drop(child);
        Ok((ours, Self { complaints }))
    }

    /// Its last complaint, in printable ASCII; empty where there is none.
    pub(crate) fn complaint(&self) -> String {
        let mut bytes = [0; 4096];
        let length = (&self.complaints).read(&mut bytes).unwrap_or(0);
        let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default());
        // Without a syslog it says so for every line.
        let is_own = |line: &&str| !line.trim().is_empty() && !line.contains("to syslog");
        let last = text.lines().rfind(is_own).unwrap_or_default().trim();
        let printable = |letter: &char| letter.is_ascii_graphic() || *letter == ' ';
        last.chars().filter(printable).take(COMPLAINT).collect()
    }
}

/// Checks that this process could listen on the host's `port`.
fn check(port: &ForwardSpec) -> io::Result<()> {
    let address = (Ipv4Addr::UNSPECIFIED, port.host);
    let (protocol, bound) = match port.udp {
        true => ("UDP", UdpSocket::bind(address).map(drop)),
        false => ("TCP", TcpListener::bind(address).map(drop)),
    };
    bound.map_err(|error| {
        let words = format!("{protocol} port {} of this host: {error}", port.host);
        io::Error::new(error.kind(), words)
    })
}

impl fmt::Debug for Passt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passt").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_port_that_is_taken_is_said_before_passt_is_started() {
        let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let host = taken.local_addr().unwrap().port();
        let port = ForwardSpec {
            udp: false,
            host,
            guest: 22,
        };
        let error = Passt::start(&[port]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let start = format!("TCP port {host} of this host: ");
        assert!(error.to_string().starts_with(&start), "{error}");
        // That of the other protocol is another one.
        assert!(check(&ForwardSpec { udp: true, ..port }).is_ok());
    }

    #[test]
    fn the_last_complaint_is_one_printable_line() {
        let (complaints, mut stderr) = io::pipe().unwrap();
        let passt = Passt { complaints };
        let said = "first\nNo external \x1b[1minterface\nFailed to send 9 bytes to syslog\n\n";
        stderr.write_all(said.as_bytes()).unwrap();
        assert_eq!(passt.complaint(), "No external [1minterface");
        drop(stderr);
        assert_eq!(passt.complaint(), "");
    }
}
