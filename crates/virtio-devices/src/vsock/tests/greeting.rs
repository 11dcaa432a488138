use std::io::Write;

use proptest::prelude::*;

use super::super::greeting::{Greeting, Progress, parse_connect};
use super::*;

#[test]
fn the_first_line_is_connect_and_a_port() {
    assert_eq!(parse_connect(b"CONNECT 52"), Some(52));
    assert_eq!(parse_connect(b"connect 4294967295"), Some(u32::MAX));
    assert_eq!(parse_connect(b" CONNECT  0 \r"), Some(0));
    for line in [
        &b""[..],
        b"CONNECT",
        b"CONNECT +5",
        b"CONNECT -5",
        b"CONNECT 4294967296",
        b"CONNECT 5 6",
        b"CONNECTS 5",
        b"GET / HTTP/1.1",
        b"CONNECT 5\xff",
    ] {
        assert_eq!(parse_connect(line), None, "{line:?}");
    }
}

#[test]
fn a_line_may_come_in_pieces_and_is_not_read_beyond() {
    let (mut program, socket) = UnixStream::pair().unwrap();
    let mut greeting = Greeting::default();
    assert_eq!(greeting.read(&socket), Progress::Unfinished);
    for piece in ["CON", "NECT ", "12"] {
        program.write_all(piece.as_bytes()).unwrap();
        assert_eq!(greeting.read(&socket), Progress::Unfinished);
        assert_eq!(greeting.read(&socket), Progress::Unfinished);
    }
    program.write_all(b"3\nCONNECT 4\n").unwrap();
    assert_eq!(greeting.read(&socket), Progress::Connect(123));
    let mut second = Greeting::default();
    assert_eq!(second.read(&socket), Progress::Connect(4));
    drop(program);
    assert_eq!(Greeting::default().read(&socket), Progress::Refused);
}

#[test]
fn a_line_without_end_is_refused() {
    let (mut program, socket) = UnixStream::pair().unwrap();
    program.write_all(&[b' '; 100]).unwrap();
    assert_eq!(Greeting::default().read(&socket), Progress::Refused);
}

proptest! {
    #[test]
    fn any_bytes_are_a_line_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Some(port) = parse_connect(&bytes) {
            prop_assert!(String::from_utf8_lossy(&bytes).contains(&port.to_string()));
        }
    }

    #[test]
    fn a_header_is_what_was_written(bytes in proptest::array::uniform32(any::<u8>()), rest in any::<[u8; 12]>()) {
        let bytes = [&bytes[..], &rest].concat();
        let header = VsockHeader::parse(&bytes).unwrap();
        prop_assert_eq!(&header.to_bytes()[..], &bytes[..]);
        prop_assert_eq!(VsockHeader::parse(&bytes[..43]), None);
    }
}
