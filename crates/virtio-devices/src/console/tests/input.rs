//! From the host to the guest.

use super::*;

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

impl InputSource for OnlyX {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<InputRead> {
        let read = self.0.read(bytes)?;
        let InputRead::Bytes(length) = read else {
            return Ok(read);
        };
        let count = bytes[..length].iter().filter(|byte| **byte == b'x').count();
        bytes[..count].fill(b'x');
        Ok(InputRead::Bytes(count))
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
