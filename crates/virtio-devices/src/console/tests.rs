use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::ioctl_fionread;
use vmmkit_virtio::fake::hostile::torture;
use vmmkit_virtio::fake::{Driver, Options};

use super::*;

const INPUT: u16 = 0;
const OUTPUT: u16 = 1;

fn console(ports: Vec<Port>) -> Arc<Console> {
    Arc::new(Console::new(ports).unwrap())
}

fn input(reader: impl Into<OwnedFd>) -> Option<Box<dyn PortInput>> {
    Some(Box::new(FdInput::new(reader.into())))
}

/// A port that writes to a pipe.
fn to_pipe() -> (Port, PipeReader, PipeWriter) {
    let (reader, writer) = pipe().unwrap();
    let output = writer.try_clone().unwrap();
    (Port::streams(None, Some(output.into())), reader, writer)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

fn read(reader: &mut impl Read, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).unwrap();
    bytes
}

fn send(driver: &mut Driver, queue: u16, bytes: &[u8]) {
    driver.add(queue, &[bytes], &[]).unwrap();
    driver.kick(queue);
}

/// A path of this test alone.
fn scratch() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("vmmkit-console-{}-{count}", std::process::id());
    std::env::temp_dir().join(name)
}

#[test]
fn output_reaches_its_reader_and_comes_back_used() {
    let (port, mut reader, _) = to_pipe();
    let console = console(vec![port]);
    let mut driver = Driver::start(console.clone()).unwrap();
    assert!(
        driver
            .request(OUTPUT, &[b"Hello, ", b"world"], &[])
            .unwrap()
            .is_empty()
    );
    assert_eq!(read(&mut reader, 12), b"Hello, world");
    assert_eq!(console.counters().output_bytes, 12);
}

/// Waits until the pipe takes no more.
fn wait_full(reader: &PipeReader) {
    while ioctl_fionread(reader).unwrap() < 64 << 10 {
        std::thread::yield_now();
    }
}

#[test]
fn a_slow_reader_slows_the_guest_and_loses_nothing() {
    let (port, mut reader, _) = to_pipe();
    let mut driver = Driver::start(console(vec![port])).unwrap();
    let text = pattern(300_000);
    for part in text.chunks(100_000) {
        driver.add(OUTPUT, &[part], &[]).unwrap();
    }
    driver.kick(OUTPUT);
    wait_full(&reader);
    assert_eq!(driver.used(OUTPUT), None);
    assert_eq!(read(&mut reader, 300_000), text);
    for _ in 0..3 {
        driver.wait(OUTPUT).unwrap();
    }
}

#[test]
fn a_console_that_moves_in_the_middle_of_a_chain_neither_loses_nor_repeats() {
    let (port, mut reader, writer) = to_pipe();
    let mut driver = Driver::start(console(vec![port])).unwrap();
    let text = pattern(200_000);
    send(&mut driver, OUTPUT, &text);
    for _ in 0..2 {
        wait_full(&reader);
        let output = writer.try_clone().unwrap();
        let next = console(vec![Port::streams(None, Some(output.into()))]);
        driver.move_to(next).unwrap();
    }
    assert_eq!(read(&mut reader, 200_000), text);
    driver.wait(OUTPUT).unwrap();
    send(&mut driver, OUTPUT, b"next");
    assert_eq!(read(&mut reader, 4), b"next");
}

#[test]
fn what_is_put_into_a_queue_after_its_reset_is_written_whole() {
    let (port, mut reader, _) = to_pipe();
    let mut driver = Driver::start(console(vec![port])).unwrap();
    let text = pattern(100_000);
    send(&mut driver, OUTPUT, &text);
    wait_full(&reader);
    driver.reset_queue(OUTPUT);
    send(&mut driver, OUTPUT, b"whole");
    let first = ioctl_fionread(&reader).unwrap() as usize;
    assert_eq!(read(&mut reader, first), text[..first]);
    assert_eq!(read(&mut reader, 5), b"whole");
}

#[test]
fn output_goes_on_when_its_reader_has_gone_away() {
    let (port, reader, _) = to_pipe();
    drop(reader);
    let console = console(vec![port]);
    let mut driver = Driver::start(console.clone()).unwrap();
    for _ in 0..3 {
        driver.request(OUTPUT, &[b"hey"], &[]).unwrap();
    }
    assert_eq!(console.counters().dropped_bytes, 9);
}

#[test]
fn a_file_and_nothing_take_all() {
    let file = std::fs::File::from(
        rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap(),
    );
    let port = Port::streams(None, Some(file.try_clone().unwrap().into()));
    let mut driver = Driver::start(console(vec![port])).unwrap();
    driver.request(OUTPUT, &[&pattern(200_000)], &[]).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 200_000);
    let mut driver = Driver::start(console(vec![Port::null()])).unwrap();
    driver.request(OUTPUT, &[&pattern(200_000)], &[]).unwrap();
}

#[test]
fn input_comes_in_order_and_whole() {
    let (reader, mut writer) = pipe().unwrap();
    let console = console(vec![Port::streams(input(reader), None)]);
    let mut driver = Driver::start(console.clone()).unwrap();
    let text = pattern(300_000);
    let sent = text.clone();
    let sender = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    let mut found = Vec::new();
    while found.len() < text.len() {
        found.extend(driver.request(INPUT, &[], &[1, 700, 30]).unwrap());
    }
    sender.join().unwrap();
    assert_eq!(found, text);
    assert_eq!(console.counters().input_bytes, 300_000);
}

#[test]
fn no_more_input_is_read_than_there_is_room_for() {
    let (reader, mut writer) = pipe().unwrap();
    let rest = reader.try_clone().unwrap();
    let mut driver = Driver::start(console(vec![Port::streams(input(reader), None)])).unwrap();
    writer.write_all(&pattern(100)).unwrap();
    assert_eq!(driver.request(INPUT, &[], &[10]).unwrap(), pattern(10));
    assert_eq!(ioctl_fionread(&rest).unwrap(), 90);
    // A buffer that cannot be written goes back, and takes nothing with it.
    assert!(driver.request(INPUT, &[b"?"], &[]).unwrap().is_empty());
    assert_eq!(
        driver.request(INPUT, &[], &[200]).unwrap(),
        pattern(100)[10..]
    );
}

#[test]
fn input_that_ends_is_read_to_its_end() {
    let file = std::fs::File::from(
        rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap(),
    );
    (&file).write_all(b"all of it").unwrap();
    std::io::Seek::rewind(&mut &file).unwrap();
    let mut driver = Driver::start(console(vec![Port::streams(input(file), None)])).unwrap();
    assert_eq!(driver.request(INPUT, &[], &[4]).unwrap(), b"all ");
    assert_eq!(driver.request(INPUT, &[], &[40]).unwrap(), b"of it");
    driver.add(INPUT, &[], &[40]).unwrap();
    driver.kick(INPUT);
    assert_eq!(driver.used(INPUT), None);
}

/// Keeps all but the letter x for itself, as a terminal with keys of its own does.
struct OnlyX(FdInput);

impl std::os::fd::AsFd for OnlyX {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl PortInput for OnlyX {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<PortRead> {
        let read = self.0.read(bytes)?;
        let PortRead::Bytes(length) = read else {
            return Ok(read);
        };
        let count = bytes[..length].iter().filter(|byte| **byte == b'x').count();
        bytes[..count].fill(b'x');
        Ok(PortRead::Bytes(count))
    }
}

#[test]
fn input_that_is_not_for_the_guest_costs_no_buffer() {
    let (reader, mut writer) = pipe().unwrap();
    let keys = OnlyX(FdInput::new(reader.into()));
    let port = Port::streams(Some(Box::new(keys)), None);
    let mut driver = Driver::start(console(vec![port])).unwrap();
    driver.add(INPUT, &[], &[10]).unwrap();
    driver.kick(INPUT);
    for text in ["abc", "d", "exx"] {
        writer.write_all(text.as_bytes()).unwrap();
    }
    assert_eq!(driver.wait(INPUT).unwrap().1, b"xx");
}

#[test]
fn the_size_is_in_the_configuration() {
    let console = console(vec![Port::null()]);
    let driver = Driver::start(console.clone()).unwrap();
    assert_eq!(driver.offered_features() & 0xff, 0b101);
    let seen = driver.interrupts();
    console.resize(132, 43);
    assert_eq!(driver.config::<8>(0), [132, 0, 43, 0, 1, 0, 0, 0]);
    assert_eq!(driver.interrupts(), seen + 1);
}

#[test]
fn a_size_from_before_the_driver_is_told_as_a_change() {
    let console = console(vec![Port::null()]);
    console.resize(80, 24);
    let driver = Driver::start(console).unwrap();
    assert_eq!(driver.wait_interrupt(0, Duration::from_secs(60)), 1);
    assert_eq!(driver.config::<4>(0), [80, 0, 24, 0]);
}

#[test]
fn an_emergency_character_needs_no_driver() {
    let (port, mut reader, _) = to_pipe();
    let console = console(vec![port]);
    let driver = Driver::attach(console.clone(), &Options::default()).unwrap();
    for byte in b"panic" {
        driver.set_config(8, &u32::from(*byte).to_le_bytes());
    }
    assert_eq!(read(&mut reader, 5), b"panic");
    assert_eq!(driver.config::<4>(8), [0; 4]);
    assert_eq!(console.counters().emergency_bytes, 5);
}

#[test]
fn emergency_characters_come_before_output_that_waits() {
    let (port, mut reader, _) = to_pipe();
    let mut driver = Driver::start(console(vec![port])).unwrap();
    let text = pattern(100_000);
    send(&mut driver, OUTPUT, &text);
    wait_full(&reader);
    driver.set_config(8, b"!\0\0\0");
    let out = read(&mut reader, 100_001);
    let odd = (0..text.len())
        .find(|index| out[*index] != text[*index])
        .unwrap();
    assert_eq!(out[odd], b'!');
    assert_eq!(out[odd + 1..], text[odd..]);
}

fn message(port: u32, event: u16, value: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    message::encode(&mut bytes, port, event, value);
    bytes
}

/// A driver with buffers for control messages, which knows all ports.
fn multiport(console: &Arc<Console>, ports: u32) -> Driver {
    let mut driver = Driver::start(console.clone()).unwrap();
    for _ in 0..20 {
        driver.add(2, &[], &[64]).unwrap();
    }
    driver.kick(2);
    send(&mut driver, 3, &message(0, 0, 1));
    for port in 0..ports {
        assert_eq!(driver.wait(2).unwrap().1, message(port, 1, 1));
    }
    driver
}

#[test]
fn ports_have_names_and_queues_of_their_own() {
    let (first, mut first_reader, _) = to_pipe();
    let (second, mut second_reader, _) = to_pipe();
    let console = console(vec![first, second.named("org.example.agent")]);
    console.resize(80, 24);
    let mut driver = multiport(&console, 2);
    send(&mut driver, 3, &message(0, 3, 1));
    assert_eq!(driver.wait(2).unwrap().1, message(0, 4, 1));
    assert_eq!(driver.wait(2).unwrap().1, message(0, 6, 1));
    let size = [message(0, 5, 0), vec![80, 0, 24, 0]].concat();
    assert_eq!(driver.wait(2).unwrap().1, size);
    send(&mut driver, 3, &message(1, 3, 1));
    let name = [message(1, 7, 1), b"org.example.agent".to_vec()].concat();
    assert_eq!(driver.wait(2).unwrap().1, name);
    assert_eq!(driver.wait(2).unwrap().1, message(1, 6, 1));
    driver.request(OUTPUT, &[b"one"], &[]).unwrap();
    driver.request(5, &[b"two"], &[]).unwrap();
    assert_eq!(read(&mut first_reader, 3), b"one");
    assert_eq!(read(&mut second_reader, 3), b"two");
    console.resize(81, 25);
    let size = [message(0, 5, 0), vec![81, 0, 25, 0]].concat();
    assert_eq!(driver.wait(2).unwrap().1, size);
}

#[test]
fn a_port_that_no_program_has_open_gets_no_input() {
    let (reader, mut writer) = pipe().unwrap();
    let rest = reader.try_clone().unwrap();
    let console = console(vec![Port::null(), Port::streams(input(reader), None)]);
    let mut driver = multiport(&console, 2);
    writer.write_all(b"for the program").unwrap();
    send(&mut driver, 3, &message(1, 3, 1));
    driver.wait(2).unwrap();
    driver.add(4, &[], &[100]).unwrap();
    driver.kick(4);
    driver.request(3, &[&message(1, 6, 0)], &[]).unwrap();
    assert_eq!(ioctl_fionread(&rest).unwrap(), 15);
    send(&mut driver, 3, &message(1, 6, 1));
    assert_eq!(driver.wait(4).unwrap().1, b"for the program");
}

#[test]
fn control_messages_wait_for_buffers_that_hold_them() {
    let console = console(vec![Port::null(), Port::null()]);
    let mut driver = Driver::start(console.clone()).unwrap();
    driver.request(3, &[&message(0, 0, 1)], &[]).unwrap();
    driver.request(3, &[&[1, 2, 3]], &[]).unwrap();
    assert!(driver.request(2, &[], &[7]).unwrap().is_empty());
    assert_eq!(driver.request(2, &[], &[8]).unwrap(), message(0, 1, 1));
    assert_eq!(driver.request(2, &[], &[8]).unwrap(), message(1, 1, 1));
    let counters = console.counters();
    assert_eq!((counters.small_buffers, counters.ignored_messages), (1, 1));
}

#[test]
fn a_socket_has_one_client_at_a_time_and_keeps_what_is_said_between() {
    let path = scratch();
    let console = console(vec![Port::listen(&path).unwrap()]);
    let mut driver = Driver::start(console.clone()).unwrap();
    driver.request(OUTPUT, &[b"boot\n"], &[]).unwrap();
    let mut first = UnixStream::connect(&path).unwrap();
    assert_eq!(read(&mut first, 5), b"boot\n");
    let mut second = UnixStream::connect(&path).unwrap();
    first.write_all(b"ls").unwrap();
    assert_eq!(driver.request(INPUT, &[], &[9]).unwrap(), b"ls");
    driver.request(OUTPUT, &[b"a b"], &[]).unwrap();
    assert_eq!(read(&mut first, 3), b"a b");
    second.write_all(b"me too").unwrap();
    drop(first);
    assert_eq!(driver.request(INPUT, &[], &[9]).unwrap(), b"me too");
    driver.request(OUTPUT, &[b"welcome"], &[]).unwrap();
    assert_eq!(read(&mut second, 7), b"welcome");
    assert_eq!(console.counters().clients, 2);
    console.close();
    assert!(!path.exists());
    // What another has made there since is not this device's.
    std::fs::write(&path, "other").unwrap();
    drop((driver, console));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_client_who_says_all_and_leaves_is_heard() {
    let path = scratch();
    let mut driver = Driver::start(console(vec![Port::listen(&path).unwrap()])).unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"reboot").unwrap();
    drop(client);
    let mut all = Vec::new();
    while all.len() < 6 {
        all.extend(driver.request(INPUT, &[], &[4]).unwrap());
    }
    assert_eq!(all, b"reboot");
    // One who only says no more still listens.
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"date").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(driver.request(INPUT, &[], &[4]).unwrap(), b"date");
    driver.add(INPUT, &[], &[4]).unwrap();
    driver.kick(INPUT);
    driver.request(OUTPUT, &[b"today"], &[]).unwrap();
    assert_eq!(read(&mut client, 5), b"today");
}

#[test]
fn the_guest_is_told_of_clients() {
    let path = scratch();
    let port = Port::listen(&path).unwrap().named("agent");
    let console = console(vec![Port::null(), port]);
    let mut driver = multiport(&console, 2);
    send(&mut driver, 3, &message(1, 3, 1));
    assert!(driver.wait(2).unwrap().1.ends_with(b"agent"));
    for _ in 0..2 {
        let client = UnixStream::connect(&path).unwrap();
        assert_eq!(driver.wait(2).unwrap().1, message(1, 6, 1));
        drop(client);
        assert_eq!(driver.wait(2).unwrap().1, message(1, 6, 0));
    }
}

#[test]
fn a_client_who_leaves_what_the_guest_never_reads_does_not_stop_the_next() {
    let path = scratch();
    let mut driver = Driver::start(console(vec![Port::listen(&path).unwrap()])).unwrap();
    let mut first = UnixStream::connect(&path).unwrap();
    first.write_all(b"unread").unwrap();
    driver.request(OUTPUT, &[b"1"], &[]).unwrap();
    assert_eq!(read(&mut first, 1), b"1");
    drop(first);
    let mut second = UnixStream::connect(&path).unwrap();
    driver.request(OUTPUT, &[b"2"], &[]).unwrap();
    assert_eq!(read(&mut second, 1), b"2");
}

#[test]
fn a_socket_that_nobody_listens_on_is_replaced_and_no_other_file() {
    let path = scratch();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let port = Port::listen(&path).unwrap();
    let error = Port::listen(&path).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    drop(port);
    std::fs::write(&path, "mine").unwrap();
    assert!(Port::listen(&path).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_driver_that_takes_no_multiport_has_the_first_port() {
    let (port, mut reader, _) = to_pipe();
    let console = console(vec![port, Port::null()]);
    let options = Options {
        features: !spec::F_MULTIPORT,
        ..Options::default()
    };
    let mut driver = Driver::start_with(console, &options).unwrap();
    driver.request(OUTPUT, &[b"plain"], &[]).unwrap();
    assert_eq!(read(&mut reader, 5), b"plain");
}

#[test]
fn ports_that_cannot_be_are_named() {
    let refused = |ports| Console::new(ports).unwrap_err().to_string();
    assert_eq!(refused(vec![]), "a console of 0 ports: it has 1 to 31");
    let many = (0..32).map(|_| Port::null()).collect();
    assert_eq!(refused(many), "a console of 32 ports: it has 1 to 31");
    let error = refused(vec![Port::null().named("a/b")]);
    assert!(error.contains("\"a/b\""), "{error}");
}

#[test]
fn ports_that_moved_are_as_open_as_before() {
    let ports = || vec![Port::null(), Port::null().named("agent")];
    let old = console(ports());
    let mut driver = multiport(&old, 2);
    send(&mut driver, 3, &message(1, 3, 1));
    driver.wait(2).unwrap();
    driver.wait(2).unwrap();
    driver.request(3, &[&message(1, 6, 1)], &[]).unwrap();
    let (reader, mut writer) = pipe().unwrap();
    let port = Port::streams(input(reader), None).named("agent");
    let state = driver.move_to(console(vec![Port::null(), port])).unwrap();
    assert!(state.device.contains("\"version\":1"), "{}", state.device);
    // The host's end is told again; it may be another.
    assert_eq!(driver.wait(2).unwrap().1, message(1, 6, 1));
    writer.write_all(b"go on").unwrap();
    assert_eq!(driver.request(4, &[], &[10]).unwrap(), b"go on");
}

#[test]
fn states_that_are_none_are_refused() {
    let console = console(vec![Port::null()]);
    for state in [
        "",
        "[]",
        r#"{"version":2,"ports":[]}"#,
        r#"{"version":1,"ports":[]}"#,
    ] {
        let error = console.restore(state).unwrap_err();
        assert!(error.contains("console"), "{error}");
    }
    console.restore(&console.save()).unwrap();
}

#[test]
fn a_hostile_driver_is_survived() {
    let path = scratch();
    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(&pattern(60_000)).unwrap();
    let (stalled, _never_read, _) = to_pipe();
    let ports = vec![
        Port::streams(input(reader), None),
        Port::listen(&path).unwrap().named("agent"),
        stalled,
        to_pipe().0,
    ];
    let console: Arc<dyn Device> = console(ports);
    let _client = UnixStream::connect(&path).unwrap();
    torture(&console, 1, 200).unwrap();
    let (stalled, _never_read, _) = to_pipe();
    let single: Arc<dyn Device> = self::console(vec![stalled]);
    torture(&single, 2, 100).unwrap();
}
