use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::*;
use crate::FdInput;

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Bell {
    fn rung(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn tap() -> Arc<ConsoleTap> {
    Arc::new(ConsoleTap::new().unwrap())
}

fn read(reader: &mut TapReader, most: usize) -> Poll<Option<(u64, Vec<u8>)>> {
    let waiting = reader.poll_waiting(&mut Context::from_waker(Waker::noop()));
    waiting.map(|_| reader.read(most).map(|it| (it.missed, it.bytes)))
}

fn write(writer: &mut TapWriter, bytes: &[u8]) -> Poll<Result<usize, TapLost>> {
    writer.poll_write(&mut Context::from_waker(Waker::noop()), bytes)
}

#[test]
fn the_last_64_kib_are_kept() {
    let tap = tap();
    tap.append(b"old");
    tap.append(&[b'n'; ConsoleTap::KEPT - 1]);
    tap.push(b'!');
    let tail = tap.tail();
    assert_eq!(tail.len(), ConsoleTap::KEPT);
    assert_eq!((tail[0], tail[ConsoleTap::KEPT - 1]), (b'n', b'!'));
    let much: Vec<u8> = (0..200_000_u32).map(|it| it.to_le_bytes()[0]).collect();
    tap.append(&much);
    assert_eq!(tap.tail(), much[much.len() - ConsoleTap::KEPT..]);
}

#[test]
fn a_reader_gets_what_was_kept_and_what_follows_and_the_end() {
    let tap = tap();
    tap.append(b"before");
    let mut reader = tap.reader();
    assert_eq!(reader.kept(), 6);
    tap.append(b" after");
    assert_eq!(
        read(&mut reader, 4),
        Poll::Ready(Some((0, b"befo".to_vec())))
    );
    assert_eq!(reader.waiting(), 8);
    assert_eq!(
        read(&mut reader, 99),
        Poll::Ready(Some((0, b"re after".to_vec())))
    );
    assert_eq!(read(&mut reader, 99), Poll::Pending);
    tap.push(b'.');
    tap.close();
    assert_eq!(read(&mut reader, 99), Poll::Ready(Some((0, b".".to_vec()))));
    assert_eq!(read(&mut reader, 99), Poll::Ready(None));
}

#[test]
fn a_slow_reader_is_told_of_the_bytes_that_it_missed() {
    let tap = tap();
    let mut slow = tap.reader();
    tap.append(b"lost");
    tap.append(&[b'x'; ConsoleTap::KEPT]);
    let Poll::Ready(Some((missed, bytes))) = read(&mut slow, 2) else {
        panic!("there is output");
    };
    assert_eq!((missed, &bytes[..]), (4, &b"xx"[..]));
    assert_eq!(read(&mut slow, 1), Poll::Ready(Some((0, b"x".to_vec()))));
}

#[test]
fn a_reader_is_woken_once_by_output_and_by_the_end() {
    let tap = tap();
    let mut reader = tap.reader();
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let mut context = Context::from_waker(&waker);
    for _ in 0..3 {
        assert!(reader.poll_waiting(&mut context).is_pending());
    }
    tap.append(b"ab");
    tap.append(b"c");
    assert_eq!(bell.rung(), 1);
    assert_eq!(reader.read(9).unwrap().bytes, b"abc");
    assert!(reader.poll_waiting(&mut context).is_pending());
    tap.close();
    assert_eq!(bell.rung(), 2);
}

#[test]
fn readers_that_have_gone_leave_nothing_behind() {
    let tap = tap();
    for _ in 0..100 {
        assert!(read(&mut tap.reader(), 1).is_pending());
    }
    assert!(tap.record.lock().take_waiting().is_empty());
}

#[test]
fn typed_bytes_reach_the_guest_whole() {
    let tap = tap();
    let mut input = tap.input(None, false).unwrap();
    let mut writer = tap.writer(false).unwrap();
    let paste: Vec<u8> = (0..300_000_u32).map(|it| it.to_le_bytes()[0]).collect();
    let (mut left, mut heard) = (&paste[..], Vec::new());
    while heard.len() < paste.len() {
        if let Poll::Ready(count) = write(&mut writer, left) {
            left = &left[count.unwrap()..];
        }
        let mut bytes = [0; 1000];
        match input.read(&mut bytes).unwrap() {
            InputRead::Bytes(count) => heard.extend_from_slice(&bytes[..count]),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(heard, paste);
    assert_eq!(input.read(&mut [0; 4]).unwrap(), InputRead::NotReady);
    assert!(!crate::pollable::is_readable(input.as_fd()));
}

#[test]
fn a_full_queue_makes_the_writer_wait_until_the_guest_reads() {
    let tap = tap();
    let mut input = tap.input(None, false).unwrap();
    let mut writer = tap.writer(false).unwrap();
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let mut context = Context::from_waker(&waker);
    let much = vec![b'k'; 2 * ConsoleTap::TYPED];
    assert_eq!(
        writer.poll_write(&mut context, &much),
        Poll::Ready(Ok(ConsoleTap::TYPED))
    );
    assert!(writer.poll_write(&mut context, b"more").is_pending());
    assert_eq!(bell.rung(), 0);
    assert_eq!(input.read(&mut [0; 8]).unwrap(), InputRead::Bytes(8));
    assert_eq!(bell.rung(), 1);
    assert_eq!(writer.poll_write(&mut context, b"more"), Poll::Ready(Ok(4)));
}

#[test]
fn there_is_one_writer_and_another_may_take_over() {
    let tap = tap();
    assert_eq!(tap.writer(true).unwrap_err(), TapTaken::NotRead);
    let _input = tap.input(None, false).unwrap();
    let mut first = tap.writer(false).unwrap();
    assert_eq!(tap.writer(false).unwrap_err(), TapTaken::ByWriter);
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let idle = first.poll_write(&mut Context::from_waker(&waker), b"");
    assert!(idle.is_pending());
    let mut second = tap.writer(true).unwrap();
    assert_eq!(bell.rung(), 1);
    assert_eq!(
        write(&mut first, b"x"),
        Poll::Ready(Err(TapLost::TakenOver))
    );
    // Its end is not the end of the other.
    drop(first);
    assert_eq!(write(&mut second, b"x"), Poll::Ready(Ok(1)));
    drop(second);
    let mut third = tap.writer(false).unwrap();
    tap.close();
    assert_eq!(write(&mut third, b"x"), Poll::Ready(Err(TapLost::Closed)));
}

#[test]
fn the_console_s_own_input_counts_until_its_end() {
    let tap = tap();
    let (reader, mut terminal) = io::pipe().unwrap();
    let own: Box<dyn InputSource> = Box::new(FdInput::new(reader.into()));
    let mut input = tap.input(Some(own), true).unwrap();
    assert_eq!(tap.writer(false).unwrap_err(), TapTaken::ByOwnInput);
    let mut writer = tap.writer(true).unwrap();
    assert_eq!(write(&mut writer, b"tap"), Poll::Ready(Ok(3)));
    terminal.write_all(b"own").unwrap();
    let mut heard = Vec::new();
    for _ in 0..2 {
        let mut bytes = [0; 9];
        assert!(crate::pollable::is_readable(input.as_fd()));
        match input.read(&mut bytes).unwrap() {
            InputRead::Bytes(count) => heard.extend_from_slice(&bytes[..count]),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(heard, b"owntap");
    drop(terminal);
    while tap.typing.lock().is_own {
        assert_eq!(input.read(&mut [0; 9]).unwrap(), InputRead::NotReady);
    }
    assert!(!crate::pollable::is_readable(input.as_fd()));
    drop(writer);
    assert!(tap.writer(false).is_ok());
}

#[test]
fn a_file_is_read_to_its_end_and_typing_goes_on() {
    let tap = tap();
    let path = std::env::temp_dir().join(format!("console-tap-{}", std::process::id()));
    std::fs::write(&path, b"from a file").unwrap();
    let file = File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let own: Box<dyn InputSource> = Box::new(FdInput::new(file.into()));
    let mut input = tap.input(Some(own), true).unwrap();
    let mut heard = Vec::new();
    while crate::pollable::is_readable(input.as_fd()) {
        let mut bytes = [0; 4];
        match input.read(&mut bytes).unwrap() {
            InputRead::Bytes(count) => heard.extend_from_slice(&bytes[..count]),
            InputRead::NotReady => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(heard, b"from a file");
    assert_eq!(
        write(&mut tap.writer(false).unwrap(), b"x"),
        Poll::Ready(Ok(1))
    );
    assert_eq!(input.read(&mut [0; 4]).unwrap(), InputRead::Bytes(1));
}
