//! Programs of the host that come and go.

use super::*;

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
