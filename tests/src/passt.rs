//! A network by passt(1), without a privilege, in the namespace of a test.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::guest::BOOT_LIMIT;
use crate::network::ip;

/// The user ID of nobody.
pub const NOBODY: u32 = 65534;
/// The guest's address, which is the host's.
const ADDRESS: &str = "10.7.0.2";
/// The guest's gateway. To the guest it is the host's loopback interface.
pub const GATEWAY: &str = "10.7.0.1";

const PROGRAM: &str = "/usr/bin/passt";

/// passt as nobody, ended with the test.
#[derive(Debug)]
pub struct Passt(Child);

impl Passt {
    /// Whether it is installed.
    pub fn is_installed() -> bool {
        Path::new(PROGRAM).exists()
    }

    /// passt that listens on `socket`, and the interface of this namespace that it shows the guest.
    ///
    /// # Errors
    /// The host's; passt ends, or does not listen in time.
    pub fn start(socket: &Path) -> io::Result<Self> {
        for words in [
            "tuntap add dev outside mode tap".to_owned(),
            format!("addr add {ADDRESS}/24 dev outside"),
            "link set outside up".to_owned(),
            "link set lo up".to_owned(),
            format!("route add default via {GATEWAY}"),
        ] {
            ip(&words)?;
        }
        let child = Command::new(PROGRAM)
            .args(["--foreground", "--ipv4-only", "--interface", "outside"])
            .args(["--address", ADDRESS, "--netmask", "24"])
            .args(["--gateway", GATEWAY, "--socket"])
            .arg(socket)
            .uid(NOBODY)
            .gid(NOBODY)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut passt = Self(child);
        let deadline = Instant::now() + BOOT_LIMIT;
        while !socket.exists() {
            if let Some(status) = passt.0.try_wait()? {
                return Err(io::Error::other(format!("passt has ended: {status}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("passt does not listen"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(passt)
    }
}

impl Drop for Passt {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
