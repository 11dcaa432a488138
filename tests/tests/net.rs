//! The network of a booted Linux: by a tap interface in a namespace of the test's own, and by passt.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::{fs, thread};

use vmmkit_tests::guest::BOOT_LIMIT;
use vmmkit_tests::http::serve_http;
use vmmkit_tests::network::{in_namespace, ip, serve, traffic};
use vmmkit_tests::passt::{NOBODY, Passt};
use vmmkit_tests::process::{Finished, run_bounded, sha256};
use vmmkit_tests::scripted::Scripted;
use vmmkit_tests::stream::{bytes, drain, send};

/// By this port the guest says that it is ready, and waits until the connection is closed.
const READY: &str = "10.9.0.1:7999";
const UP: &str = "ifconfig lo 127.0.0.1 up; ifconfig eth0 10.9.0.2 netmask 255.255.255.0 up
    until grep -q 1 /sys/class/net/eth0/carrier; do usleep 10000; done\n";
const SIZE: usize = 4 << 20;

/// A guest whose eth0 is the tap interface tap0; the host is 10.9.0.1, the guest 10.9.0.2.
fn guest(test: &str, kind: &str) -> Option<Scripted> {
    let guest = Scripted::find(test).unwrap()?;
    if !in_namespace(test).unwrap() {
        return None;
    }
    ip(&format!("tuntap add dev tap0 mode tap{kind}")).unwrap();
    ip("addr add 10.9.0.1/24 dev tap0").unwrap();
    ip("link set tap0 up").unwrap();
    Some(guest)
}

/// Runs `script` in the guest.
fn run(guest: &Scripted, script: &str, arguments: &[&str]) -> Finished {
    let mut command = guest.command(&format!("{UP}{script}"), "").unwrap();
    let run = guest.run(command.args(arguments)).unwrap();
    assert_eq!(run.code(), Some(0), "{run:#?}");
    run
}

/// Does `work` when the guest is ready; what it found is there after the guest's end.
fn when_ready<T: Send + 'static>(
    work: impl Fn() -> T + Send + Sync + 'static,
) -> Arc<Mutex<Option<T>>> {
    let found = Arc::new(Mutex::new(None));
    let keeper = found.clone();
    serve(READY, move |_| *keeper.lock().unwrap() = Some(work())).unwrap();
    found
}

fn data(seed: u64, length: usize) -> Vec<u8> {
    let mut data = vec![0; length];
    bytes(seed)(&mut data);
    data
}

#[test]
fn ping_goes_both_ways() {
    let Some(guest) = guest("ping_goes_both_ways", "") else {
        return;
    };
    let pinged = when_ready(|| {
        let mut ping = Command::new("ping");
        run_bounded(ping.args(["-c", "3", "10.9.0.2"]), b"", BOOT_LIMIT).unwrap()
    });
    let run = run(
        &guest,
        "cat /sys/class/net/eth0/carrier /sys/class/net/eth0/mtu; ping -c 3 10.9.0.1
        nc 10.9.0.1 7999 </dev/null\n",
        &["--net", "tap=tap0,mac=52:54:00:00:00:09"],
    );
    assert!(run.stdout.contains(" 0% packet loss"), "{run:#?}");
    assert!(run.stdout.contains("1\r\n1500\r\n"), "{run:#?}");
    let pinged = pinged.lock().unwrap().take().unwrap();
    assert!(pinged.stdout.contains(" 0% packet loss"), "{pinged:#?}");
}

#[test]
fn tcp_goes_both_ways_and_the_guest_sends_large_segments() {
    let Some(guest) = guest("tcp_goes_both_ways_and_the_guest_sends_large_segments", "") else {
        return;
    };
    let sent = Arc::new(data(1, SIZE));
    let bytes = sent.clone();
    // The guest connects: it gets the data, and sends them back by another connection.
    serve("10.9.0.1:7000", move |mut to| to.write_all(&bytes).unwrap()).unwrap();
    let back = Arc::new(Mutex::new(Vec::new()));
    let keeper = back.clone();
    serve("10.9.0.1:7001", move |mut from| {
        let mut all = Vec::new();
        from.read_to_end(&mut all).unwrap();
        *keeper.lock().unwrap() = all;
    })
    .unwrap();
    // The host connects: it gets the same file.
    let fetched = when_ready(|| {
        let mut web = TcpStream::connect("10.9.0.2:80").unwrap();
        web.write_all(b"GET /data HTTP/1.0\r\n\r\n").unwrap();
        let mut all = Vec::new();
        web.read_to_end(&mut all).unwrap();
        (all, traffic("tap0").unwrap())
    });
    let run = run(
        &guest,
        "mkdir web; nc 10.9.0.1 7000 >web/data </dev/null; echo \"sum $(sha256sum <web/data)\"
        nc 10.9.0.1 7001 <web/data; httpd -h /tmp/web; nc 10.9.0.1 7999 </dev/null\n",
        &["--net", "tap=tap0"],
    );
    let sum = format!("sum {}", sha256(&sent).unwrap());
    assert!(run.stdout.contains(&sum), "{sum} is not in {run:#?}");
    assert!(*back.lock().unwrap() == *sent);
    let (page, traffic) = fetched.lock().unwrap().take().unwrap();
    assert!(page.ends_with(&sent), "{} bytes", page.len());
    assert!(traffic.received > 2 * SIZE as u64, "{traffic:?}");
    assert!(traffic.sent > SIZE as u64, "{traffic:?}");
    // Without offloads each would be cut: the data alone would be more packets than all that came.
    let cut = 2 * SIZE as u64 / 1448;
    assert!(traffic.received_packets < cut, "{traffic:?}");
}

/// Sixteen streams from each side to an echo of the other, at once; what the guest said.
fn sixteen_streams(guest: &Scripted, script: &str, arguments: &[&str]) -> Finished {
    const EACH: usize = 256 << 10;
    serve("10.9.0.1:7", |stream| {
        let mut back = stream;
        drain(stream, |now| back.write_all(now).unwrap());
    })
    .unwrap();
    let seed = data(2, EACH);
    let expected = sha256(&seed).unwrap();
    serve("10.9.0.1:7000", move |mut to| to.write_all(&seed).unwrap()).unwrap();
    let equal = when_ready(|| {
        let streams: Vec<_> = (0..16)
            .map(|_| TcpStream::connect("10.9.0.2:7").unwrap())
            .collect();
        let talks: Vec<_> = streams
            .into_iter()
            .zip(1..)
            .map(|(stream, seed)| thread::spawn(move || echo_is_equal(&stream, seed, EACH)))
            .collect();
        let equal = talks.into_iter().filter_map(|talk| talk.join().ok());
        (equal.filter(|equal| *equal).count(), threads("virtio-net0"))
    });
    // A guest that says nothing for a minute is taken for lost in the lab; this one may be busy as long.
    let run = run(
        guest,
        &format!(
            "{script}
            nc 10.9.0.1 7000 >data </dev/null; nc -ll -p 7 -e cat &
            until nc 10.9.0.2 7 </dev/null; do :; done 2>/dev/null
            while sleep 10; do echo at work; done &
            for i in $(seq 16); do nc 10.9.0.1 7 <data | sha256sum & pids=\"$pids $!\"; done >log
            nc 10.9.0.1 7999 </dev/null
            wait $pids; echo \"equal: $(grep -c {expected} log)\"\n"
        ),
        arguments,
    );
    assert!(run.stdout.contains("equal: 16"), "{run:#?}");
    let (equal, threads) = equal.lock().unwrap().take().unwrap();
    assert_eq!(equal, 16, "{run:#?}");
    assert!(
        threads.iter().all(|(_, switches)| *switches > 10),
        "{threads:?}"
    );
    Finished {
        stderr: format!("{threads:?}"),
        ..run
    }
}

fn echo_is_equal(stream: &TcpStream, seed: u64, total: usize) -> bool {
    let out = stream.try_clone().unwrap();
    let sender = thread::spawn(move || {
        let sum = send(&out, seed, total).unwrap();
        out.shutdown(Shutdown::Write).unwrap();
        sum
    });
    let found = drain(stream, |_| {});
    found == (total, sender.join().unwrap())
}

/// The threads of this test's children whose names begin with `name`, and how often each has waited.
fn threads(name: &str) -> Vec<(String, u64)> {
    let own = std::process::id().to_string();
    let folders = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for process in folders(Path::new("/proc")) {
        for thread in folders(&process.path().join("task")) {
            let Ok(status) = fs::read_to_string(thread.path().join("status")) else {
                continue;
            };
            let field = |key: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(key));
                line.unwrap_or_default().trim().to_owned()
            };
            if field("PPid:") == own && field("Name:").starts_with(name) {
                let waits = field("voluntary_ctxt_switches:").parse().unwrap();
                found.push((field("Name:"), waits));
            }
        }
    }
    found
}

#[test]
fn sixteen_streams_go_each_way_at_once() {
    let Some(guest) = guest("sixteen_streams_go_each_way_at_once", "") else {
        return;
    };
    sixteen_streams(&guest, "", &["--net", "tap=tap0"]);
}

#[test]
fn two_pairs_of_queues_share_the_work() {
    let Some(guest) = guest("two_pairs_of_queues_share_the_work", " multi_queue") else {
        return;
    };
    let run = sixteen_streams(
        &guest,
        "ls /sys/class/net/eth0/queues",
        &["--net", "tap=tap0,queues=2", "--cpus", "2"],
    );
    for queue in ["rx-0", "rx-1", "tx-0", "tx-1"] {
        assert!(run.stdout.contains(queue), "{run:#?}");
    }
    assert!(run.stderr.contains("virtio-net0.1"), "{run:#?}");
}

#[test]
fn an_interface_that_goes_takes_the_guests_link_down() {
    let Some(guest) = guest("an_interface_that_goes_takes_the_guests_link_down", "") else {
        return;
    };
    let gone = when_ready(|| ip("link delete tap0").unwrap());
    let run = run(
        &guest,
        "until grep up /sys/class/net/eth0/operstate; do usleep 10000; done
        nc 10.9.0.1 7999 </dev/null &
        until grep down /sys/class/net/eth0/operstate; do usleep 10000; done
        cat /sys/class/net/eth0/carrier; echo seen; kill $!\n",
        &["--net", "tap=tap0"],
    );
    assert!(gone.lock().unwrap().is_some());
    assert!(run.stdout.contains("up\r\ndown\r\n0\r\nseen"), "{run:#?}");
}

#[test]
fn a_guest_whose_kernel_has_no_driver_is_told_of_after_its_end() {
    let name = "a_guest_whose_kernel_has_no_driver_is_told_of_after_its_end";
    let Some(guest) = guest(name, "") else {
        return;
    };
    let parameters = "initcall_blacklist=virtio_net_driver_init";
    let mut command = guest.command("ls /sys/class/net\n", parameters).unwrap();
    let run = guest.run(command.args(["--net", "tap=tap0"])).unwrap();
    assert_eq!(run.code(), Some(0), "{run:#?}");
    assert!(!run.stdout.contains("eth0"), "{run:#?}");
    let line = "net0 was never initialised: the guest's kernel may lack CONFIG_VIRTIO_NET";
    assert_eq!(run.stderr.matches(line).count(), 1, "{run:#?}");
}

/// Makes `command` run as nobody, who may use KVM.
fn as_nobody(command: &mut Command) {
    if std::env::var_os("VMMKIT_LAB").is_some() {
        fs::set_permissions("/dev/kvm", fs::Permissions::from_mode(0o666)).unwrap();
    }
    let group = fs::metadata("/dev/kvm").unwrap().gid();
    command.uid(NOBODY).gid(group);
}

#[test]
fn passt_gives_a_network_to_whom_is_nobody() {
    let name = "passt_gives_a_network_to_whom_is_nobody";
    let Some(guest) = Scripted::find(name).unwrap() else {
        return;
    };
    if !in_namespace(name).unwrap() {
        return;
    }
    if !Passt::is_installed() {
        return eprintln!("SKIPPED: {name}: install the package passt");
    }
    fs::set_permissions(guest.folder(), fs::Permissions::from_mode(0o777)).unwrap();
    let socket = guest.folder().join("passt.sock");
    let _passt = Passt::start(&socket).unwrap();
    // Letters: busybox's wget posts no zeros. And HTTP, since this passt (2023_03_09) sends all again to
    // a guest that has closed its half of a connection.
    let sent: Vec<u8> = data(3, SIZE).iter().map(|byte| b'a' + byte % 26).collect();
    let sent = Arc::new(sent);
    let page = sent.clone();
    let back = Arc::new(Mutex::new(Vec::new()));
    let keeper = back.clone();
    serve_http("127.0.0.1:7000", move |request| match &*request.method {
        "POST" => {
            *keeper.lock().unwrap() = request.body.clone();
            Some(b"taken".to_vec())
        }
        _ => Some(page.to_vec()),
    })
    .unwrap();
    let script = "cat >lease <<'END'
#!/bin/sh
[ \"$1\" = bound ] && ifconfig eth0 $ip netmask $subnet && route add default gw $router && echo leased $ip by $router
END
chmod +x lease; ifconfig eth0 up; udhcpc -n -q -f -s ./lease 2>&1
wget -q -O data http://10.7.0.1:7000/; echo \"sum $(sha256sum <data)\"
wget -q -O - --post-file=data http://10.7.0.1:7000/\n";
    let mut command = guest.command(script, "").unwrap();
    command
        .arg("--net")
        .arg(format!("passt={}", socket.display()));
    for file in fs::read_dir(guest.folder()).unwrap().flatten() {
        if file.file_type().unwrap().is_file() {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(0o666)).unwrap();
        }
    }
    as_nobody(&mut command);
    let run = guest.run(&mut command).unwrap();
    assert_eq!(run.code(), Some(0), "{run:#?}");
    assert!(
        run.stdout.contains("leased 10.7.0.2 by 10.7.0.1"),
        "{run:#?}"
    );
    let sum = format!("sum {}", sha256(&sent).unwrap());
    assert!(run.stdout.contains(&sum), "{sum} is not in {run:#?}");
    assert!(run.stdout.contains("taken"), "{run:#?}");
    assert!(*back.lock().unwrap() == *sent);
}
