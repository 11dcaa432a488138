//! Offered beside the binary: the systemd unit.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use vmmkit_tests::workspace_root;

/// The unit with a program that exists on this machine, in a folder of its own.
fn unit_here() -> (PathBuf, PathBuf) {
    let text = fs::read_to_string(workspace_root().join("contrib/vmmkit@.service")).unwrap();
    let here = text.replace("/usr/bin/vmmkit", "/bin/true");
    assert_ne!(text, here);
    let folder = std::env::temp_dir().join(format!("vmmkit-unit-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let unit = folder.join("vmmkit@.service");
    fs::write(&unit, here).unwrap();
    (folder, unit)
}

#[test]
fn systemd_takes_the_unit() {
    let (folder, unit) = unit_here();
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&unit)
        .output();
    fs::remove_dir_all(&folder).unwrap();
    let Ok(verified) = verified else {
        eprintln!("SKIPPED: systemd-analyze is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("vmmkit@"))
        .collect();
    assert!(verified.status.success() && ours.is_empty(), "{said}");
}

/// A guest that ignores the power button is stopped by the VMM, not killed by systemd.
#[test]
fn the_vmm_gives_up_before_systemd_does() {
    let text = fs::read_to_string(workspace_root().join("contrib/vmmkit@.service")).unwrap();
    let after = |word: &str| -> u64 {
        let rest = text.split(word).nth(1).unwrap();
        let digits = rest
            .trim_start()
            .split(|c: char| !c.is_ascii_digit())
            .next();
        digits.unwrap().parse().unwrap()
    };
    assert!(after("on-reboot reboot --stop-timeout") < after("TimeoutStopSec="));
}
