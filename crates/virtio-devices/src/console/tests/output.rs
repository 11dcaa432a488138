//! From the guest to its reader.

use super::*;

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

#[test]
fn a_reader_who_takes_nothing_does_not_hold_up_the_guest_for_ever() {
    let (port, mut reader, writer) = to_pipe();
    drop(writer);
    let (tell, told) = std::sync::mpsc::channel();
    let port = port.with_patience(Duration::from_millis(20)).unwrap();
    let port = port.on_lost_output(move |lost| tell.send(lost).unwrap());
    let console = console(vec![port]);
    let mut driver = Driver::start(console.clone()).unwrap();
    let text = pattern(200_000);
    // Each is completed, though nobody reads.
    for piece in text.chunks(4000) {
        driver.request(OUTPUT, &[piece], &[]).unwrap();
    }
    assert!(console.counters().dropped_bytes > 0);
    // That is told, once.
    let lost: Vec<_> = told.iter().collect();
    assert!(matches!(lost[..], [LostOutput::NotRead]), "{lost:?}");
    // Who reads at last gets the end of it.
    let mut all = Vec::new();
    while !all.ends_with(&text[text.len() - (64 << 10)..]) {
        all.extend(read(&mut reader, 1));
    }
    driver.request(OUTPUT, &[b"more"], &[]).unwrap();
    assert_eq!(read(&mut reader, 4), b"more");
}

#[test]
fn a_reader_who_goes_is_told_of_and_the_guest_goes_on() {
    let (port, reader, _writer) = to_pipe();
    drop(reader);
    let (tell, told) = std::sync::mpsc::channel();
    let port = port.on_lost_output(move |lost| tell.send(lost).unwrap());
    let mut driver = Driver::start(console(vec![port])).unwrap();
    for _ in 0..3 {
        driver.request(OUTPUT, &[b"to nobody"], &[]).unwrap();
    }
    let lost: Vec<_> = told.iter().collect();
    assert!(matches!(lost[..], [LostOutput::NoReader]), "{lost:?}");
}
