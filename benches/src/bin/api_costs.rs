//! Costs of the control API: `api_costs VMMKIT`.
//!
//! Boots the same micro-guest, which writes to a port for ever, without and with the API, and prints
//! the memory of both processes, after many requests too, and how long calls take. The memory of a
//! process has pages of its own and pages of the binary's file, which all guests of a host share.

use std::error::Error;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use vmmkit_benches::micro_guest::{Work, elf};
use vmmkit_control::{Client, MachineInfo};

const CALLS: usize = 1000;
/// Between a pause and a resume, so that the guest runs in between.
const REST: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);

type Outcome<T> = Result<T, Box<dyn Error>>;

#[expect(
    clippy::print_stdout,
    reason = "the figures are what the program is for"
)]
fn main() -> Outcome<()> {
    let vmmkit = std::env::args().nth(1).ok_or("usage: api_costs VMMKIT")?;
    let place = Place::new(vmmkit.into())?;
    let without = place.start(&["--no-instance"])?;
    let with = place.start(&["--name", "guest"])?;
    let client = Client::new(&place.folder.join("vmmkit/guest/api.sock"));
    let deadline = Instant::now() + PATIENCE;
    while !place.folder.join("vmmkit/guest/api.sock").exists() {
        if Instant::now() > deadline {
            return Err("the guest does not listen".into());
        }
        thread::sleep(REST);
    }
    // Both have started by then, and write to the port.
    thread::sleep(Duration::from_millis(500));
    let base = without.memory()?;
    println!("memory without the API       {base}");
    println!(
        "and with it, nobody connected {}",
        with.memory()?.more_than(&base)
    );

    let get = median(CALLS, || client.get::<MachineInfo>("/v1/machine").map(drop))?;
    println!(
        "GET /v1/machine, connection and all: median {} us",
        get.as_micros()
    );
    let post = |path: &str| client.post::<MachineInfo>(path, None).map(drop);
    let mut pauses = Vec::new();
    let mut resumes = Vec::new();
    for _ in 0..CALLS {
        pauses.push(timed(|| post("/v1/machine/pause"))?);
        resumes.push(timed(|| post("/v1/machine/resume"))?);
        thread::sleep(REST);
    }
    println!("pause: median {} us", middle(pauses).as_micros());
    println!("resume: median {} us", middle(resumes).as_micros());
    for path in [
        "/v1/devices",
        "/v1/inspect",
        "/v1/metrics",
        "/v1/openapi.json",
    ] {
        client.text("GET", path, None)?;
    }
    client.events()?.next();
    println!(
        "memory after all these calls  {}",
        with.memory()?.more_than(&base)
    );
    Ok(())
}

/// A folder, the kernel in it, and the binary.
struct Place {
    vmmkit: PathBuf,
    folder: PathBuf,
}

impl Place {
    fn new(vmmkit: PathBuf) -> Outcome<Self> {
        let folder = std::env::temp_dir().join(format!("vmmkit-api-costs-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&folder)?;
        let code = Work::PortWrites(u32::MAX).code();
        fs::write(folder.join("kernel"), elf(&code))?;
        Ok(Self { vmmkit, folder })
    }

    fn start(&self, arguments: &[&str]) -> Outcome<Guest> {
        let child = Command::new(&self.vmmkit)
            .args(["run", "--quiet", "--memory", "16M", "--kernel"])
            .arg(self.folder.join("kernel"))
            .args(arguments)
            .env("XDG_RUNTIME_DIR", &self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Guest(child))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

struct Guest(Child);

impl Guest {
    fn memory(&self) -> Outcome<Memory> {
        let path = format!("/proc/{}/status", self.0.id());
        let text = fs::read_to_string(Path::new(&path))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        Ok(Memory {
            own: field("RssAnon:"),
            file: field("RssFile:"),
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Kilobytes of a process.
#[derive(Clone, Copy)]
struct Memory {
    own: i64,
    file: i64,
}

impl Memory {
    fn more_than(&self, base: &Self) -> String {
        let (own, file) = (self.own - base.own, self.file - base.file);
        format!(
            "{self}: {:+} KiB ({own:+} own, {file:+} of the file)",
            own + file
        )
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} KiB own, {} KiB of the file", self.own, self.file)
    }
}

fn timed<E: Error + 'static>(call: impl FnOnce() -> Result<(), E>) -> Outcome<Duration> {
    let start = Instant::now();
    call()?;
    Ok(start.elapsed())
}

fn median<E: Error + 'static>(calls: usize, call: impl Fn() -> Result<(), E>) -> Outcome<Duration> {
    let times: Outcome<Vec<Duration>> = (0..calls).map(|_| timed(&call)).collect();
    Ok(middle(times?))
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
