//! A network of the test's own: a namespace, and its interfaces by ip(8) of iproute2.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;

/// Tells the test that it is inside.
const INSIDE: &str = "VMMKIT_TEST_INSIDE";

/// Runs the test function `test` again in a network namespace of its own, and fails if it fails
/// there; `true` inside. Where there can be none, says why the test is skipped.
///
/// # Errors
/// The host's, and what the test inside has said.
#[expect(
    clippy::print_stderr,
    reason = "a skip is loud, and so is the inner test"
)]
pub fn in_namespace(test: &str) -> Result<bool, String> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(true);
    }
    let text = |error: io::Error| error.to_string();
    if !can_have_namespace() {
        eprintln!("SKIPPED: {test}: unshare -n, ip(8) and /dev/net/tun need root and iproute2");
        return Ok(false);
    }
    let run = Command::new("unshare")
        .arg("-n")
        .arg(std::env::current_exe().map_err(text)?)
        .args(["--exact", test, "--include-ignored", "--nocapture"])
        .args(["--test-threads", "1"])
        .env(INSIDE, "1")
        .output()
        .map_err(text)?;
    let said = String::from_utf8_lossy(&run.stderr);
    if !run.status.success() {
        return Err(format!("{test} failed in its namespace: {said}"));
    }
    eprint!("{said}");
    Ok(false)
}

/// Whether this process may make a network namespace with tap interfaces.
pub fn can_have_namespace() -> bool {
    let mut try_it = Command::new("unshare");
    let can = try_it.arg("-n").arg(ip_program()).args(["link"]).output();
    can.is_ok_and(|output| output.status.success()) && Path::new("/dev/net/tun").exists()
}

/// Runs ip(8) with these words.
///
/// # Errors
/// The host's, and ip's.
pub fn ip(words: &str) -> io::Result<()> {
    let run = Command::new(ip_program()).args(words.split(' ')).output()?;
    match run.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&run.stderr);
            Err(io::Error::other(format!("ip {words}: {said}")))
        }
    }
}

/// That of iproute2: busybox's has no tap interfaces.
fn ip_program() -> &'static str {
    let places = ["/sbin/ip", "/usr/sbin/ip", "/bin/ip"];
    let found = places.into_iter().find(|path| Path::new(path).exists());
    found.unwrap_or("ip")
}

/// Listens on `address`; each connection is handled by a thread of its own, and closed then.
///
/// # Errors
/// The host's.
pub fn serve(address: &str, handle: impl Fn(&TcpStream) + Send + Sync + 'static) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    let handle = Arc::new(handle);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let handle = handle.clone();
            thread::spawn(move || handle(&stream));
        }
    });
    Ok(())
}

/// Traffic of an interface.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Bytes that the host received by it.
    pub received: u64,
    /// In so many packets, whole ones before they are cut into segments.
    pub received_packets: u64,
    /// Bytes that the host sent.
    pub sent: u64,
    /// In so many packets.
    pub sent_packets: u64,
}

/// The traffic of `interface` of this namespace so far.
pub fn traffic(interface: &str) -> Option<Traffic> {
    // Not sysfs, which shows the namespace that mounted it.
    let all = std::fs::read_to_string("/proc/thread-self/net/dev").ok()?;
    let line = all.lines().find_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        (name.trim() == interface).then_some(numbers)
    })?;
    let numbers: Vec<u64> = line
        .split_whitespace()
        .map_while(|number| number.parse().ok())
        .collect();
    Some(Traffic {
        received: *numbers.first()?,
        received_packets: *numbers.get(1)?,
        sent: *numbers.get(8)?,
        sent_packets: *numbers.get(9)?,
    })
}
