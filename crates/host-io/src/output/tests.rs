use std::io::Read;
use std::os::fd::AsFd;
use std::thread;

use super::*;
use crate::pollable::{is_readable, wait_readable};

const LONG: Duration = Duration::from_secs(60);

fn pipe_buffer() -> (std::io::PipeReader, OutputBuffer) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader, OutputBuffer::new(writer.into()).unwrap())
}

/// Pushes numbered bytes until the buffer refuses one; how many it took.
fn fill(buffer: &OutputBuffer, from: usize) -> usize {
    (from..).take_while(|&n| buffer.push(n as u8)).count()
}

fn wakes(buffer: &OutputBuffer) -> bool {
    buffer.wake_fds().into_iter().any(is_readable)
}

#[test]
fn the_first_byte_of_a_burst_wakes_the_event_loop() {
    let (mut reader, buffer) = pipe_buffer();
    assert!(!wakes(&buffer));
    for byte in *b"hello" {
        buffer.push(byte);
    }
    assert!(wait_readable(buffer.wake_fds()[0], LONG));
    assert_eq!(buffer.flush().unwrap(), Flush::Done);
    assert!(!wakes(&buffer));
    let mut text = [0; 5];
    reader.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"hello");
}

#[test]
fn a_byte_after_a_flush_wakes_it_again() {
    let (_reader, buffer) = pipe_buffer();
    for _ in 0..3 {
        buffer.push(b'x');
        assert!(wait_readable(buffer.wake_fds()[0], LONG));
        buffer.flush().unwrap();
    }
}

#[test]
fn a_full_buffer_refuses_bytes_until_it_is_flushed() {
    let (_reader, buffer) = pipe_buffer();
    assert_eq!(fill(&buffer, 0), HALF);
    assert!(!buffer.push(0));
    buffer.flush().unwrap();
    assert!(buffer.push(0));
}

#[test]
fn a_slow_reader_gets_every_byte_in_order() {
    let (mut reader, buffer) = pipe_buffer();
    // More than the pipe (64 KiB) and the buffer hold.
    let mut pushed = 0;
    loop {
        pushed += fill(&buffer, pushed);
        if buffer.flush().unwrap() == Flush::Stalled {
            break;
        }
        assert!(pushed < 1 << 20, "the pipe never fills");
    }
    pushed += fill(&buffer, pushed);
    assert!(!is_readable(buffer.wake_fds()[1]));
    let total = pushed;
    let reading = thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).map(|_| all)
    });
    assert!(
        wait_readable(buffer.wake_fds()[1], LONG),
        "the reader's progress wakes the loop"
    );
    assert_eq!(buffer.drain_blocking(LONG).unwrap(), Flush::Done);
    drop(buffer);
    let all = reading.join().unwrap().unwrap();
    assert_eq!(all.len(), total);
    assert!(all.iter().enumerate().all(|(n, &byte)| byte == n as u8));
}

#[test]
fn a_stall_that_is_over_wakes_nobody_any_more() {
    let (mut reader, buffer) = pipe_buffer();
    let mut pushed = 0;
    while buffer.flush().unwrap() != Flush::Stalled {
        pushed += fill(&buffer, pushed);
    }
    let mut all = vec![0; pushed];
    thread::scope(|scope| {
        scope.spawn(|| reader.read_exact(&mut all).unwrap());
        assert!(wait_readable(buffer.wake_fds()[1], LONG));
        assert_eq!(buffer.drain_blocking(LONG).unwrap(), Flush::Done);
    });
    assert_eq!(buffer.flush().unwrap(), Flush::Done);
    assert!(!wakes(&buffer), "the event loop would spin for ever");
}

#[test]
fn a_reader_that_went_away_costs_nothing_but_its_bytes() {
    let (reader, buffer) = pipe_buffer();
    drop(reader);
    buffer.push(b'x');
    assert_eq!(buffer.flush().unwrap(), Flush::Gone);
    assert!(buffer.is_gone());
    assert_eq!(fill(&buffer, 0), HALF);
    assert_eq!(buffer.flush().unwrap(), Flush::Gone);
    assert!(buffer.push(b'y'), "room again: nothing is kept for nobody");
}

#[test]
fn a_drain_gives_up_on_a_reader_that_takes_nothing() {
    let (_reader, buffer) = pipe_buffer();
    while buffer.flush().unwrap() != Flush::Stalled {
        fill(&buffer, 0);
    }
    assert_eq!(
        buffer.drain_blocking(Duration::from_millis(1)).unwrap(),
        Flush::Stalled
    );
}

#[test]
fn the_flags_of_a_shared_description_stay_as_they_were() {
    let pty = crate::open_pty().unwrap();
    let before = rustix::fs::fcntl_getfl(&pty.slave).unwrap();
    let buffer = OutputBuffer::new(pty.slave.try_clone().unwrap()).unwrap();
    buffer.push(b'x');
    buffer.flush().unwrap();
    assert_eq!(rustix::fs::fcntl_getfl(&pty.slave).unwrap(), before);
}

#[test]
fn a_terminal_that_is_not_read_stalls_without_blocking() {
    let pty = crate::open_pty().unwrap();
    let buffer = OutputBuffer::new(pty.slave.try_clone().unwrap()).unwrap();
    let mut rounds = 0;
    while buffer.flush().unwrap() != Flush::Stalled {
        fill(&buffer, 0);
        rounds += 1;
        assert!(rounds < 1000);
    }
    let mut master = std::fs::File::from(pty.master);
    let mut bytes = [0; 4096];
    while !is_readable(buffer.wake_fds()[1]) {
        assert!(wait_readable(master.as_fd(), LONG));
        assert!(master.read(&mut bytes).unwrap() > 0);
    }
    assert_ne!(buffer.flush().unwrap(), Flush::Gone);
}

#[test]
fn threads_that_push_at_once_lose_nothing() {
    let (mut reader, buffer) = pipe_buffer();
    thread::scope(|scope| {
        for letter in [b'a', b'b'] {
            let buffer = &buffer;
            scope.spawn(move || {
                for _ in 0..10_000 {
                    while !buffer.push(letter) {
                        thread::yield_now();
                    }
                }
            });
        }
    });
    assert_eq!(buffer.drain_blocking(LONG).unwrap(), Flush::Done);
    let mut all = vec![0; 20_000];
    reader.read_exact(&mut all).unwrap();
    assert_eq!(all.iter().filter(|&&byte| byte == b'a').count(), 10_000);
}

#[test]
fn lines_are_stamped_from_where_they_begin_and_only_while_it_is_asked_for() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let output = OutputBuffer::new(writer.into()).unwrap();
    let mut prints = |text: &str| {
        text.bytes().for_each(|byte| assert!(output.push(byte)));
        output.flush().unwrap();
        let mut bytes = [0; 256];
        let length = reader.read(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    assert_eq!(prints("one\nhalf"), "one\nhalf");
    assert!(output.toggle_stamps());
    let stamped = prints(" of it\ntwo\n\nth");
    let lines: Vec<&str> = stamped.split('\n').collect();
    assert_eq!(lines[0], " of it");
    for (line, text) in lines[1..].iter().zip(["two", "", "th"]) {
        let (stamp, rest) = line.split_once("] ").unwrap();
        assert!(stamp.starts_with('[') && stamp.contains('.'), "{stamp}");
        assert_eq!(rest, text);
    }
    assert_eq!(prints("ree\n"), "ree\n");
    assert!(!output.toggle_stamps());
    assert_eq!(prints("four\n"), "four\n");
}

#[test]
fn a_reader_who_takes_nothing_for_long_does_not_hold_up_the_guest() {
    let (mut reader, buffer) = pipe_buffer();
    let buffer = buffer.with_patience(Duration::ZERO);
    // The pipe is full, and so is the buffer.
    while buffer.flush().unwrap() != Flush::Stalled {
        fill(&buffer, 0);
    }
    assert!(buffer.is_dropping());
    assert_eq!(buffer.dropped(), 0);
    let text: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    for byte in &text {
        assert!(buffer.push(*byte));
    }
    assert!(buffer.dropped() > 800_000);
    // Whoever comes gets the last of it, and has all the time again.
    let (mut all, mut bytes) = (Vec::new(), [0; 4096]);
    while !all.ends_with(&text[text.len() - KEPT..]) {
        let length = reader.read(&mut bytes).unwrap();
        all.extend_from_slice(&bytes[..length]);
        buffer.flush().unwrap();
    }
    assert!(!buffer.is_dropping());
    assert!(buffer.push(b'x'));
}

#[test]
fn patience_ends_by_a_wake_up() {
    let (_reader, buffer) = pipe_buffer();
    let buffer = buffer.with_patience(Duration::from_millis(20));
    while buffer.flush().unwrap() != Flush::Stalled {
        fill(&buffer, 0);
    }
    fill(&buffer, 0);
    while !buffer.is_dropping() {
        assert!(wait_readable(buffer.wake_fds()[0], LONG));
        buffer.flush().unwrap();
    }
    assert!(buffer.push(b'x'));
    assert_eq!(buffer.drain_blocking(LONG).unwrap(), Flush::Stalled);
}

#[test]
fn a_reader_has_all_the_time_without_a_limit() {
    let (_reader, buffer) = pipe_buffer();
    while buffer.flush().unwrap() != Flush::Stalled {
        fill(&buffer, 0);
    }
    fill(&buffer, 0);
    assert_eq!(buffer.flush().unwrap(), Flush::Stalled);
    assert!(!buffer.push(b'x'));
}

/// Takes no more than three bytes at a time, nothing every second time, and hangs up at an end of file (4).
struct Slow {
    taken: std::sync::mpsc::Sender<u8>,
    is_full: bool,
}

impl io::Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.is_full = !self.is_full;
        if self.is_full {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if bytes.first() == Some(&4) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let end = bytes.iter().position(|&byte| byte == 4);
        let some = &bytes[..end.unwrap_or(bytes.len()).min(3)];
        some.iter().for_each(|&byte| self.taken.send(byte).unwrap());
        Ok(some.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_that_is_slow_gets_every_byte_until_it_hangs_up() {
    let (taken, output) = std::sync::mpsc::channel();
    let buffer = OutputBuffer::to_writer(Slow {
        taken,
        is_full: false,
    })
    .unwrap();
    b"0123456789".iter().for_each(|&byte| _ = buffer.push(byte));
    assert_eq!(buffer.flush().unwrap(), Flush::Stalled);
    let mut state = Flush::Stalled;
    while state == Flush::Stalled {
        // It is asked again without a descriptor that would tell.
        assert!(wait_readable(buffer.wake_fds()[0], LONG));
        state = buffer.flush().unwrap();
    }
    assert_eq!(output.try_iter().collect::<Vec<_>>(), b"0123456789");
    b"more\x04lost"
        .iter()
        .for_each(|&byte| _ = buffer.push(byte));
    assert_eq!(buffer.drain_blocking(LONG).unwrap(), Flush::Gone);
    assert_eq!(output.try_iter().collect::<Vec<_>>(), b"more");
}
