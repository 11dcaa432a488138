//! A machine that has no guest: for tests of whoever serves or uses the API, and for this crate's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use vmmkit_host_io::{ConsoleTap, InputRead, InputSource};

use crate::{
    Balloon, Controlled, Device, Event, EventSource, FlowLimits, Limits, MachineInfo, MachineState,
    Memory, Refusal, Saving,
};

/// RAM of the fake: 256 MiB.
const MEMORY: u64 = 256 << 20;
/// How much that may become: 1 GiB, by blocks of 2 MiB.
const MAXIMUM: u64 = 1 << 30;
const BLOCK: u64 = 2 << 20;
/// Its disk: 1 MiB.
const DISK: u64 = 1 << 20;
/// Events that wait for a reader.
const EVENTS: usize = 1024;

/// The fake: it obeys, and remembers.
#[derive(Debug)]
pub struct FakeMachine {
    inner: Mutex<Inner>,
    never_ends: bool,
    /// Prints the bytes that are typed.
    echo: Option<Echo>,
}

/// A console that prints what is typed on it.
struct Echo {
    tap: Arc<ConsoleTap>,
    input: Mutex<Box<dyn InputSource>>,
}

impl Echo {
    fn new() -> Option<Self> {
        let tap = Arc::new(ConsoleTap::new().ok()?);
        let input = Mutex::new(tap.input(None, false).ok()?);
        Some(Self { tap, input })
    }

    /// Prints up to 1 KiB of what was typed; how many bytes.
    fn echo(&self) -> usize {
        let mut bytes = [0; 1024];
        match self.input.lock().read(&mut bytes) {
            Ok(InputRead::Bytes(count)) => {
                self.tap.append(bytes.get(..count).unwrap_or_default());
                count
            }
            _ => 0,
        }
    }
}

impl std::fmt::Debug for Echo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Echo").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Inner {
    state: MachineState,
    target: u64,
    plugged: u64,
    size: u64,
    limits: Limits,
    calls: Vec<&'static str>,
    events: Option<SyncSender<Event>>,
}

impl FakeMachine {
    /// A machine that runs, with a disk `blk0`, a source of random numbers `rng0`, a balloon and
    /// memory that may grow.
    pub fn new() -> Self {
        Self::in_state(MachineState::Running)
    }

    /// The same in another state.
    pub fn in_state(state: MachineState) -> Self {
        Self {
            inner: Mutex::new(Inner {
                state,
                target: 0,
                plugged: 0,
                size: DISK,
                limits: Limits {
                    requests: Some(FlowLimits::default()),
                    ..Limits::default()
                },
                calls: Vec::new(),
                events: None,
            }),
            never_ends: false,
            echo: Echo::new(),
        }
    }

    /// One that runs on when it is stopped: for tests that call everything in any order.
    pub fn endless() -> Self {
        Self {
            never_ends: true,
            ..Self::new()
        }
    }

    /// The calls so far, in order.
    pub fn calls(&self) -> Vec<&'static str> {
        self.inner().calls.clone()
    }

    /// Prints up to 1 KiB of what was typed; how many bytes.
    pub fn echo(&self) -> usize {
        self.echo.as_ref().map_or(0, Echo::echo)
    }

    /// Something happens.
    pub fn tell(&self, kind: &str) {
        let event = Event {
            kind: kind.to_owned(),
            ..Event::default()
        };
        if let Some(events) = &self.inner().events {
            // A test that does not read its events does not want them.
            let _ = events.try_send(event);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    fn enter(&self, call: &'static str, state: MachineState) -> Result<(), Refusal> {
        let mut inner = self.inner();
        inner.calls.push(call);
        if inner.state == MachineState::Ended {
            return Err(Refusal::State {
                state: inner.state,
                wanted: "has no guest any more",
            });
        }
        inner.state = state;
        drop(inner);
        self.tell(call);
        Ok(())
    }
}

impl Default for FakeMachine {
    fn default() -> Self {
        Self::new()
    }
}

impl Controlled for FakeMachine {
    fn machine(&self) -> MachineInfo {
        MachineInfo {
            name: "fake".to_owned(),
            state: self.inner().state,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            age_milliseconds: 0,
            vcpus: 1,
            memory_bytes: MEMORY,
            kernel: "vmlinux".to_owned(),
            vsock_socket: None,
        }
    }

    fn boot(&self) -> Result<(), Refusal> {
        let state = self.inner().state;
        if state != MachineState::Created {
            return Err(Refusal::State {
                state,
                wanted: "has booted already",
            });
        }
        self.enter("boot", MachineState::Running)
    }

    fn pause(&self) -> Result<(), Refusal> {
        self.enter("pause", MachineState::Paused)
    }

    fn resume(&self) -> Result<(), Refusal> {
        self.enter("resume", MachineState::Running)
    }

    fn reset(&self) -> Result<(), Refusal> {
        self.enter("reset", MachineState::Running)
    }

    fn save(&self, _: &Path, saving: Saving) -> Result<Duration, Refusal> {
        if self.machine().state == MachineState::Ended {
            return Err(Refusal::State {
                state: MachineState::Ended,
                wanted: "cannot be saved",
            });
        }
        if saving.stop {
            self.stop();
        }
        Ok(Duration::from_micros(1500))
    }

    fn ask_to_stop(&self) {
        self.inner().calls.push("ask_to_stop");
    }

    fn stop(&self) {
        let mut inner = self.inner();
        inner.calls.push("stop");
        if !self.never_ends {
            inner.state = MachineState::Ended;
            inner.events = None;
        }
    }

    fn stop_timeout(&self) -> u32 {
        5
    }

    fn power_button(&self) {
        self.inner().calls.push("power_button");
    }

    fn ctrl_alt_del(&self) {
        self.inner().calls.push("ctrl_alt_del");
    }

    fn devices(&self) -> Vec<Device> {
        let device = |name: &str, limits| Device {
            name: name.to_owned(),
            driven: true,
            counters: BTreeMap::from([("requests".to_owned(), 7)]),
            limits,
            ..Device::default()
        };
        let limits = self.inner().limits.clone();
        vec![device("blk0", Some(limits)), device("rng0", None)]
    }

    fn limit(&self, device: &str, limits: &Limits) -> Result<Limits, Refusal> {
        match device {
            "blk0" => {}
            "rng0" => return Err(Refusal::NoLimits(device.to_owned())),
            _ => return Err(Refusal::NoSuchDevice(device.to_owned())),
        }
        for (field, flow) in [("receive", limits.receive), ("transmit", limits.transmit)] {
            if flow.is_some() {
                let reason = format!("{device} is a disk: it has requests");
                return Err(Refusal::Field { field, reason });
            }
        }
        let mut inner = self.inner();
        if limits.requests.is_some() {
            inner.limits = limits.clone();
        }
        Ok(inner.limits.clone())
    }

    fn size(&self, device: &str) -> Result<u64, Refusal> {
        match device {
            "blk0" => Ok(self.inner().size),
            _ => Err(Refusal::NoSize(device.to_owned())),
        }
    }

    fn resize(&self, device: &str, size_bytes: Option<u64>) -> Result<u64, Refusal> {
        let size = self.size(device)?;
        let wanted = size_bytes.unwrap_or(size);
        if wanted < size {
            let field = "size_bytes";
            let reason = format!("{device} has {size} bytes, and is not made smaller");
            return Err(Refusal::Field { field, reason });
        }
        self.inner().size = wanted;
        Ok(wanted)
    }

    fn balloon(&self) -> Option<Balloon> {
        let target_bytes = self.inner().target;
        Some(Balloon {
            target_bytes,
            ..Balloon::default()
        })
    }

    fn set_balloon(&self, target_bytes: u64) -> Result<(), Refusal> {
        if target_bytes >= MEMORY {
            let reason = format!("the guest has {MEMORY} bytes of RAM in all");
            let field = "target_bytes";
            return Err(Refusal::Field { field, reason });
        }
        self.inner().target = target_bytes;
        Ok(())
    }

    fn memory(&self) -> Option<Memory> {
        let bytes = MEMORY + self.inner().plugged;
        Some(Memory {
            boot_bytes: MEMORY,
            maximum_bytes: MAXIMUM,
            target_bytes: bytes,
            actual_bytes: bytes,
            block_bytes: BLOCK,
        })
    }

    fn set_memory(&self, target_bytes: u64) -> Result<(), Refusal> {
        let plugged = target_bytes.checked_sub(MEMORY);
        let possible = plugged.filter(|it| it.is_multiple_of(BLOCK) && target_bytes <= MAXIMUM);
        let Some(plugged) = possible else {
            let reason = format!("{MEMORY} and blocks of {BLOCK} up to {MAXIMUM}");
            let field = "target_bytes";
            return Err(Refusal::Field { field, reason });
        };
        self.inner().plugged = plugged;
        Ok(())
    }

    fn console(&self) -> Option<Arc<ConsoleTap>> {
        // Room for what comes next.
        while self.echo() > 0 {}
        Some(self.echo.as_ref()?.tap.clone())
    }

    fn resize_console(&self, _columns: u16, _rows: u16) -> Result<(), Refusal> {
        self.inner().calls.push("resize_console");
        Ok(())
    }

    fn inspect(&self) -> Result<String, Refusal> {
        Ok("{\"name\": \"fake\"}".to_owned())
    }

    fn metrics(&self) -> String {
        "# TYPE vmmkit_fake counter\nvmmkit_fake 1\n".to_owned()
    }

    fn events(&self) -> Box<dyn EventSource> {
        let (sender, receiver) = sync_channel(EVENTS);
        self.inner().events = Some(sender);
        Box::new(FakeEvents(receiver))
    }
}

struct FakeEvents(Receiver<Event>);

impl EventSource for FakeEvents {
    fn next(&mut self) -> Option<Event> {
        self.0.recv().ok()
    }
}

/// A folder of a test's own, gone with everything in it afterwards.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new one, with mode 0700.
    #[expect(clippy::expect_used, reason = "a test without a folder fails")]
    pub fn new() -> Self {
        use std::os::unix::fs::DirBuilderExt;
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Ordering: only that each number is given out once counts.
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("control-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.expect("the folder for temporary files can be written");
        Self(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
