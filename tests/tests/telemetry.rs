//! Reports of a booted Linux: metrics for programs, and the timeline of the boot.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs;
use std::path::{Path, PathBuf};

use vmmkit_tests::guest::Guests;

const BATCH: &str = "console=ttyS0 reboot=k panic=-1 vmmkit.batch";

/// A folder of this test's own; gone when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = format!("vmmkit-telemetry-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(folder);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_boot_is_drawn_with_its_phases_and_its_console() {
    let Some(guests) = Guests::find("timeline") else {
        return;
    };
    let folder = Folder::new("timeline");
    for name in ["boot.json", "boot.svg"] {
        let file = folder.at(name);
        let run = guests
            .boot(&guests.lean_elf(), BATCH, &["--timeline", text(&file)])
            .unwrap();
        assert_eq!(run.code(), Some(0), "{run:#?}");
    }
    let json = fs::read_to_string(folder.at("boot.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let order = [
        "exec",
        "main",
        "build_began",
        "built",
        "entry",
        "first_exit",
        "first_output",
        "init",
        "end",
    ];
    let times = order.map(|mark| json["marks_us"][mark].as_u64().unwrap());
    assert!(times.is_sorted(), "{times:?}");
    let lines = json["lines"].as_array().unwrap();
    let says = |word: &str| {
        lines
            .iter()
            .any(|line| line["text"].as_str().unwrap().contains(word))
    };
    assert!(says("Linux version") && says("MemFree"), "{lines:#?}");
    let serial = json["exits"]["devices"]["serial"].as_array().unwrap();
    let serial: u64 = serial.iter().map(|bin| bin.as_u64().unwrap()).sum();
    assert!(serial > 1000, "{serial} exits to the serial port");

    let svg = fs::read_to_string(folder.at("boot.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    for part in ["user space", ">serial</text>", "Linux version"] {
        assert!(svg.contains(part), "{part} is not in the picture");
    }
}

#[test]
fn metrics_tell_what_the_guest_did() {
    let Some(guests) = Guests::find("metrics") else {
        return;
    };
    let folder = Folder::new("metrics");
    let (file, lines) = (folder.at("metrics.prom"), folder.at("metrics.jsonl"));
    let name = format!("metrics-{}", std::process::id());
    for file in [&file, &lines] {
        let arguments = [
            "--rng",
            "--cpus",
            "2",
            "--name",
            &name,
            "--metrics",
            text(file),
        ];
        let run = guests.boot(&guests.lean_elf(), BATCH, &arguments).unwrap();
        assert_eq!(run.code(), Some(0), "{run:#?}");
    }
    let metrics = fs::read_to_string(&file).unwrap();
    let value = |series: &str| -> f64 {
        let series = series.replace("tested", &name);
        let line = metrics.lines().find_map(|line| line.strip_prefix(&*series));
        let number = line.unwrap_or_else(|| panic!("no {series} in {metrics}"));
        number.trim().parse().unwrap()
    };
    assert!(
        value("vmmkit_vcpu_exits_total{name=\"tested\",vcpu=\"0\",reason=\"io_out\"}") > 1000.0
    );
    assert!(
        value("vmmkit_vcpu_exits_total{name=\"tested\",vcpu=\"1\",reason=\"mmio_read\"}") >= 0.0
    );
    assert!(
        value("vmmkit_queue_requests_total{name=\"tested\",device=\"rng0\",queue=\"0\"}") >= 1.0
    );
    assert!(value("vmmkit_milestone_seconds{name=\"tested\",milestone=\"end\"}") > 0.0);
    assert_eq!(
        value("vmmkit_device_faults_total{name=\"tested\",device=\"rng0\"}"),
        0.0
    );

    for line in fs::read_to_string(&lines).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["name"].as_str().unwrap().starts_with("vmmkit_"));
        assert!(line["value"].is_number());
    }
    // Replaced whole each time: nothing is left beside the files.
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 2);
}
