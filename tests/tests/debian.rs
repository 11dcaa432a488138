//! Debian as it comes: its own kernel and initrd, a root disk by PCI, systemd, a login on the serial
//! port, its package tools with a network and without one, and a clean power-off.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use vmmkit_tests::disk::{Scratch, check};
use vmmkit_tests::guest::Guests;
use vmmkit_tests::http::serve_http;
use vmmkit_tests::network::{can_have_namespace, in_namespace};
use vmmkit_tests::package::{GREETING, PACKAGE, Repository};
use vmmkit_tests::passt::{GATEWAY, Passt};
use vmmkit_tests::terminal::Terminal;

/// systemd's own words may take a while in the lab.
const LIMIT: Duration = Duration::from_secs(240);
const CMDLINE: &str = "console=ttyS0 root=/dev/vda ro net.ifnames=0 reboot=k panic=-1";

#[test]
fn debian_boots_to_a_login_and_powers_off_clean() {
    let name = "debian_boots_to_a_login_and_powers_off_clean";
    let Some(guests) = Guests::find(name) else {
        return;
    };
    let debian = guests.debian();
    if !debian.join("root.ext4").exists() {
        return eprintln!("SKIPPED: {name}: run tools/guest/debian, which needs Debian's mirror");
    }
    let has_network = Passt::is_installed() && can_have_namespace();
    if !has_network {
        eprintln!("SKIPPED: {name}: its network, which needs root, iproute2 and passt");
    } else if !in_namespace(name).unwrap() {
        return;
    }
    let scratch = Scratch::new().unwrap();
    let root = scratch.path().join("root");
    // By itself where it may be moved: the lab has no room for two.
    if fs::rename(debian.join("root.ext4"), &root).is_err() {
        fs::copy(debian.join("root.ext4"), &root).unwrap();
    }
    let mut command = guests.command(&debian.join("vmlinuz"), &["--cmdline", CMDLINE]);
    command.arg("--initrd").arg(debian.join("initrd.img"));
    command.args(["--virtio", "pci", "--rng", "--memory", "512M", "--disk"]);
    command.arg(&root);
    let socket = scratch.path().join("passt.sock");
    let _passt = has_network.then(|| {
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let repository = Repository::new().unwrap();
        serve_http("127.0.0.1:8000", move |request| {
            repository.file(&request.path)
        })
        .unwrap();
        command.arg("--net");
        command.arg(format!("passt={}", socket.display()));
        Passt::start(&socket).unwrap()
    });
    let started = Instant::now();
    let mut terminal = Terminal::start(&command).unwrap();
    terminal.sees("login: ", LIMIT).unwrap();
    eprintln!("Debian: a login after {} s", started.elapsed().as_secs());
    let mut ask = |line: &str, answer: &str| {
        terminal.types(format!("{line}\r"));
        terminal.sees(answer, LIMIT).unwrap()
    };
    ask("root", "# ");
    // Its answers then begin a line of their own.
    ask("bind 'set enable-bracketed-paste off'", "# ");
    ask("systemctl is-system-running --wait", "\nrunning");
    ask(
        "lsblk -dno NAME,TYPE; cat /sys/class/misc/hw_random/rng_current",
        "virtio_rng.0",
    );
    // Its package tools work, and say that there is no network.
    ask(
        "dpkg --audit && apt-cache policy apt | grep -c Installed",
        "\n1",
    );
    if has_network {
        // It has come up by itself, by DHCP.
        ask("ip route; ifdown eth0; echo down $?", "\ndown 0");
    }
    let update = ask("apt-get update; echo updated $?", "\nupdated ");
    assert!(update.contains("W: Failed to fetch"), "{update}");
    if has_network {
        ask("ifup eth0; ip route", &format!("default via {GATEWAY}"));
        let list = format!("deb [trusted=yes] http://{GATEWAY}:8000/ ./");
        ask(&format!("echo '{list}' >/etc/apt/sources.list"), "# ");
        ask("apt-get update; echo updated $?", "\nupdated 0");
        ask(
            &format!("apt-get install -y {PACKAGE}; echo installed $?"),
            "\ninstalled 0",
        );
        ask(PACKAGE, &format!("\n{GREETING}"));
    }
    ask("poweroff", "Power down");
    let status = terminal.ends(LIMIT).unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    let clean = check(&root).unwrap();
    assert_eq!(clean.code(), Some(0), "{clean:#?}");
}
