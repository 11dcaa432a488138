//! A booted Linux, told what to do by others while it runs.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::path::Path;

use vmmkit_control::{Balloon, Client, Device, Event, MachineInfo, MachineState};
use vmmkit_tests::diskless::{Diskless, Kernel};
use vmmkit_tests::guest::{BOOT_LIMIT, wait_for};
use vmmkit_tests::terminal::Terminal;

/// A guest with a script, and a client of it.
fn start(name: &str, script: &str, arguments: &[&str]) -> Option<(Diskless, Terminal, Client)> {
    let guest = Diskless::find(name, Kernel::Cloud).unwrap()?;
    let socket = guest.scratch.path().join("api.sock");
    let options = ["--no-instance", "--api-socket", socket.to_str().unwrap()];
    let command = guest.command(script, &[&options, arguments].concat());
    let terminal = Terminal::start(&command.unwrap()).unwrap();
    let client = Client::new(Path::new(&socket)).patient_for(BOOT_LIMIT);
    Some((guest, terminal, client))
}

#[test]
fn a_balloon_is_filled_and_emptied_over_the_api() {
    let script = "load virtio_balloon; echo loaded; read line\n";
    let Some((_guest, mut terminal, client)) = start("API, balloon", script, &["--balloon"]) else {
        return;
    };
    terminal.sees("loaded", BOOT_LIMIT).unwrap();
    let balloon = || client.get::<Balloon>("/v1/balloon").unwrap();
    for target in [48 << 20, 0] {
        let body = serde_json::json!({ "target_bytes": target });
        let _: Balloon = client.put("/v1/balloon", &body).unwrap();
        wait_for("the guest obeys", || balloon().actual_bytes == target);
    }
    let device: Device = client.get("/v1/devices/balloon0").unwrap();
    assert!(device.driven);
    assert!(device.counters["inflated_pages"] >= 48 << 8, "{device:?}");
    terminal.types("\r");
    let status = terminal.ends(BOOT_LIMIT).unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}

#[test]
fn a_linux_is_paused_resumed_and_reset_and_events_say_so() {
    let script = "echo up; read line\n";
    let Some((_guest, mut terminal, client)) = start("API, life", script, &["--rng"]) else {
        return;
    };
    terminal.sees("up", BOOT_LIMIT).unwrap();
    let mut events = client.events().unwrap();
    let mut next = || -> Event { events.next().unwrap().unwrap() };
    assert_eq!(next().kind, "state");

    let post = |path: &str| client.post::<MachineInfo>(path, None).unwrap();
    assert_eq!(post("/v1/machine/pause").state, MachineState::Paused);
    assert_eq!(next().kind, "paused");
    assert_eq!(post("/v1/machine/resume").state, MachineState::Running);
    assert_eq!(next().kind, "resumed");
    post("/v1/machine/reset");
    terminal.sees("up", BOOT_LIMIT).unwrap();
    while next().kind != "reset" {}

    let body = serde_json::json!({ "timeout_seconds": 0 });
    let _: MachineInfo = client.post("/v1/machine/stop", Some(&body)).unwrap();
    let status = terminal.ends(BOOT_LIMIT).unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    let last = events.last().unwrap().unwrap();
    assert_eq!(
        (last.kind.as_str(), last.detail.as_deref()),
        ("ended", Some("stopped"))
    );
}
