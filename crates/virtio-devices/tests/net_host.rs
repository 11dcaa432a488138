//! The network device over what hosts really have: a tap interface in a network namespace of the
//! test's own, and passt. Where they are not there, a test says so and is skipped.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, its helpers too, and a skip is loud"
)]

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use vmmkit_virtio::fake::Driver;
use vmmkit_virtio_devices::{Net, NetAttachment, NetConfig, NetOptions};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const HEADER: usize = 12;
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;

fn skip(test: &str, reason: &str) {
    println!("SKIPPED: {test}: {reason}");
}

/// Runs the test `name` again in a network namespace of its own; `true` inside.
fn in_namespace(name: &str) -> bool {
    const INSIDE: &str = "VMMKIT_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let can = Command::new("unshare").args(["-n", "ip", "link"]).output();
    if !can.is_ok_and(|output| output.status.success()) {
        skip(name, "unshare -n and ip(8) need root and iproute2");
        return false;
    }
    let status = Command::new("unshare")
        .arg("-n")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .status();
    assert!(status.unwrap().success(), "{name} failed in its namespace");
    false
}

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().unwrap();
    assert!(status.success(), "ip {words}");
}

fn start(attachment: NetAttachment, queue_pairs: u16) -> Result<(Arc<Net>, Driver), String> {
    let config = NetConfig {
        attachment,
        options: NetOptions {
            mac: Some(MAC),
            queue_pairs,
            ..NetOptions::default()
        },
    };
    let net = Arc::new(Net::new(&config).map_err(|error| format!("{error}: {error:?}"))?);
    let mut driver = Driver::start(net.clone()).unwrap();
    for _ in 0..64 {
        driver.add(RECEIVE, &[], &[1600]).unwrap();
    }
    driver.kick(RECEIVE);
    Ok((net, driver))
}

/// Receives frames up to one that is wanted.
fn receive_until(driver: &mut Driver, is_wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    loop {
        let (_, mut bytes) = driver.wait(RECEIVE).unwrap();
        for _ in 1..u16::from_le_bytes([bytes[10], bytes[11]]) {
            bytes.extend(driver.wait(RECEIVE).unwrap().1);
        }
        if is_wanted(&bytes[HEADER..]) {
            return bytes;
        }
    }
}

fn sum(bytes: &[u8]) -> u16 {
    let pairs = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        _ => u32::from(pair[0]) << 8,
    });
    let mut sum: u32 = pairs.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The answer to a UDP frame over IPv4: the same text back, its checksum left to the host.
fn echo(frame: &[u8]) -> Vec<u8> {
    let text = &frame[42..];
    let mut answer = vec![0; HEADER];
    // NEEDS_CSUM, from the UDP header on, into its field.
    (answer[0], answer[6], answer[8]) = (1, 34, 6);
    answer.extend([&frame[6..12], &frame[..6], &[8, 0][..]].concat());
    let mut header = frame[14..34].to_vec();
    header[12..16].copy_from_slice(&frame[30..34]);
    header[16..20].copy_from_slice(&frame[26..30]);
    header[10..12].fill(0);
    let check = !sum(&header);
    header[10..12].copy_from_slice(&check.to_be_bytes());
    answer.extend(&header);
    let length = (8 + text.len() as u16).to_be_bytes();
    let pseudo = sum(&[&header[12..20], &[0, 17], &length[..]].concat());
    answer.extend(
        [
            &frame[36..38],
            &frame[34..36],
            &length,
            &pseudo.to_be_bytes(),
        ]
        .concat(),
    );
    answer.extend(text);
    answer
}

fn exchange_over_tap(queue_pairs: u16) {
    let interface = "vmktest".to_owned();
    let attachment = NetAttachment::Tap { interface };
    let (net, mut driver) = match start(attachment, queue_pairs) {
        Ok(started) => started,
        Err(reason) => return skip("tap", &reason),
    };
    ip("addr add 10.9.0.1/24 dev vmktest");
    ip("neigh replace 10.9.0.2 lladdr 02:00:00:00:00:02 dev vmktest nud permanent");
    // The MTU of the interface is the guest's.
    assert_eq!(u16::from_le_bytes(driver.config(10)), 1500);

    let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    socket.connect("10.9.0.2:7").unwrap();
    for size in [1, 100, 1472] {
        let text: Vec<u8> = (0..size).map(|index| index as u8).collect();
        socket.send(&text).unwrap();
        let is_ours = |frame: &[u8]| frame[12..14] == [8, 0] && frame[23] == 17;
        let packet = receive_until(&mut driver, is_ours);
        assert_eq!(packet[HEADER..HEADER + 6], MAC);
        assert_eq!(&packet[HEADER + 42..], text);
        // The host left the checksum to the guest, which took GUEST_CSUM.
        assert_eq!(packet[0] & 1, 1);
        driver
            .request(TRANSMIT, &[&echo(&packet[HEADER..])], &[])
            .unwrap();
        let mut back = vec![0; 2000];
        let length = socket.recv(&mut back).unwrap();
        assert_eq!(&back[..length], text);
    }
    let stats = net.stats();
    assert_eq!(
        (stats.transmitted.packets, stats.transmitted.errors),
        (3, 0)
    );
    assert!(stats.received.packets >= 3);

    // The interface goes: the guest's link goes down.
    ip("link delete vmktest");
    while net.is_link_up() {
        driver.wait_interrupt(driver.interrupts(), Duration::from_millis(10));
    }
    assert!(net.lost().is_some());
}

#[test]
fn udp_goes_both_ways_over_a_tap_interface_with_checksum_offload() {
    if in_namespace("udp_goes_both_ways_over_a_tap_interface_with_checksum_offload") {
        exchange_over_tap(1);
    }
}

#[test]
fn udp_goes_both_ways_over_a_tap_interface_of_two_queues() {
    if in_namespace("udp_goes_both_ways_over_a_tap_interface_of_two_queues") {
        exchange_over_tap(2);
    }
}

/// passt, ended with the test.
struct Passt(Child);

impl Drop for Passt {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn passt(socket: &Path) -> Option<Passt> {
    // It needs some network of the host; in this namespace it finds none, and is told one.
    let child = Command::new("passt")
        .args(["--foreground", "--one-off", "--ipv4-only"])
        .args([
            "--interface",
            "outside",
            "--address",
            "10.7.0.2",
            "--netmask",
            "24",
        ])
        .args(["--gateway", "10.7.0.1", "--socket"])
        .arg(socket)
        .stdin(Stdio::null())
        .spawn();
    child.ok().map(Passt)
}

#[test]
fn passt_answers_without_root_or_a_tap() {
    const NAME: &str = "passt_answers_without_root_or_a_tap";
    if !in_namespace(NAME) {
        return;
    }
    // Started by root, passt becomes nobody, and needs a directory to write to.
    let place = std::env::temp_dir().join(format!("vmmkit-passt-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&place, open).unwrap();
    let path = place.join("net.sock");
    ip("tuntap add dev outside mode tap");
    ip("addr add 10.7.0.2/24 dev outside");
    ip("link set outside up");
    ip("route add default via 10.7.0.1");
    let Some(mut passt) = passt(&path) else {
        return skip(NAME, "there is no passt: `apt-get install passt`");
    };
    let started = loop {
        let attachment = NetAttachment::Stream { path: path.clone() };
        match start(attachment, 1) {
            Ok(started) => break started,
            Err(reason) if passt.0.try_wait().unwrap().is_some() => {
                return skip(NAME, &format!("passt does not start here; {reason}"));
            }
            // It has not come to listen yet.
            Err(_) => std::thread::yield_now(),
        }
    };
    let (net, mut driver) = started;
    let request = [
        &[0; HEADER][..],
        &[0xff; 6],
        &MAC,
        // ARP, who has 10.7.0.1, by Ethernet and IPv4.
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        &MAC,
        &[10, 7, 0, 2, 0, 0, 0, 0, 0, 0, 10, 7, 0, 1],
    ];
    driver.request(TRANSMIT, &[&request.concat()], &[]).unwrap();
    let is_answer = |frame: &[u8]| frame[12..14] == [8, 6] && frame[20..22] == [0, 2];
    let answer = receive_until(&mut driver, is_answer);
    assert_eq!(answer[..10], [0; 10]);
    assert_eq!(answer[HEADER..HEADER + 6], MAC);
    assert_eq!(answer[HEADER + 28..HEADER + 32], [10, 7, 0, 1]);

    // passt goes: the guest's link goes down.
    drop(passt);
    while net.is_link_up() {
        driver.wait_interrupt(driver.interrupts(), Duration::from_millis(10));
    }
    assert_eq!(driver.config(6), [0, 0]);
    let _ = std::fs::remove_dir_all(&place);
}
