//! Several ports, their sizes, and what is saved of them.

use super::*;
use vmmkit_device_bus::{SaveState, SavedState, check_golden};

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
    let json = state.to_json();
    assert!(json.contains("\"kind\":\"virtio-console\""), "{json}");
    // The host's end is told again; it may be another.
    assert_eq!(driver.wait(2).unwrap().1, message(1, 6, 1));
    writer.write_all(b"go on").unwrap();
    assert_eq!(driver.request(4, &[], &[10]).unwrap(), b"go on");
}

#[test]
fn states_of_earlier_builds_load_and_those_of_other_ports_do_not() {
    let golden = include_str!("../../../goldens/virtio-console.v1.json");
    let two = || console(vec![Port::null(), Port::null().named("agent")]);
    let error = console(vec![Port::null()])
        .restore_state(&SavedState::from_json(golden.as_bytes()).unwrap())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "virtio-console: ports.length 2: this machine has 1"
    );
    let bad = golden.replace("\"pending\": 8", "\"pending\": 255");
    let bad = SavedState::from_json(bad.as_bytes()).unwrap();
    assert_eq!(
        &*two().restore_state(&bad).unwrap_err().field,
        "ports[0].pending"
    );
    check_golden(&*two(), golden).unwrap();
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
