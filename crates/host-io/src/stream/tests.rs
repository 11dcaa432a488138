use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use super::*;

fn pair() -> (StreamSocket, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (StreamSocket::new(ours).unwrap(), theirs)
}

fn send(socket: &mut StreamSocket, bytes: &[u8]) -> io::Result<()> {
    socket.frame(bytes.len())?.copy_from_slice(bytes);
    Ok(())
}

#[test]
fn frames_go_out_after_their_lengths() {
    let (mut socket, mut peer) = pair();
    send(&mut socket, b"one").unwrap();
    send(&mut socket, b"three").unwrap();
    socket.flush().unwrap();
    let mut bytes = [0; 16];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"\0\0\0\x03one\0\0\0\x05three");
}

#[test]
fn frames_come_in_whatever_pieces() {
    let (mut socket, mut peer) = pair();
    let stream = b"\0\0\0\x03one\0\0\0\0\0\0\0\x05three";
    let mut found = Vec::new();
    for byte in stream {
        peer.write_all(&[*byte]).unwrap();
        match socket.receive() {
            Ok(frame) => found.push(frame.to_vec()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    assert_eq!(found, [b"one".to_vec(), b"".to_vec(), b"three".to_vec()]);
}

#[test]
fn a_peer_that_does_not_read_is_waited_for_without_loss() {
    let (mut socket, mut peer) = pair();
    let mut sent = 0_u32;
    loop {
        let mut frame = vec![0; MAX_FRAME - (sent as usize * 7919) % 60_000];
        frame[..4].copy_from_slice(&sent.to_be_bytes());
        match send(&mut socket, &frame) {
            Ok(()) => sent += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                break;
            }
        }
    }
    // Now it reads, by a stream socket too, and in the end gets everything.
    peer.set_nonblocking(true).unwrap();
    let mut receiver = StreamSocket::new(peer.try_clone().unwrap()).unwrap();
    let mut received = 0_u32;
    while received < sent {
        let _ = socket.flush();
        if let Ok(frame) = receiver.receive() {
            assert_eq!(frame[..4], received.to_be_bytes());
            received += 1;
        }
    }
    assert!(peer.read(&mut [0]).is_err());
}

/// Reads what is there, as passt does, and counts the frames; it must end with one.
fn whole_frames(peer: &mut UnixStream, buffer: &mut [u8]) -> usize {
    let length = peer.read(buffer).unwrap();
    let (mut at, mut count) = (0, 0);
    while at < length {
        let prefix = buffer[at..length].first_chunk().unwrap();
        at += 4 + u32::from_be_bytes(*prefix) as usize;
        count += 1;
    }
    assert_eq!(at, length, "the last frame is cut");
    count
}

#[test]
fn a_peer_that_reads_what_is_there_finds_whole_frames() {
    let (mut socket, mut peer) = pair();
    let mut buffer = vec![0; 1 << 20];
    let (mut sent, mut found) = (0_usize, 0);
    for _ in 0..20 {
        // Until neither the host nor the socket has room.
        while send(&mut socket, &vec![7; 60 + (sent * 7919) % 1455]).is_ok() {
            sent += 1;
        }
        found += whole_frames(&mut peer, &mut buffer);
        let _ = socket.flush();
    }
    while found < sent {
        let _ = socket.flush();
        found += whole_frames(&mut peer, &mut buffer);
    }
    assert_eq!(found, sent);
}

#[test]
fn the_end_and_a_length_that_cannot_be_are_told() {
    let (mut socket, mut peer) = pair();
    peer.write_all(&(MAX_FRAME as u32 + 1).to_be_bytes())
        .unwrap();
    assert_eq!(socket.receive().unwrap_err().kind(), ErrorKind::InvalidData);
    let (mut socket, peer) = pair();
    drop(peer);
    assert_eq!(
        socket.receive().unwrap_err().kind(),
        ErrorKind::UnexpectedEof
    );
    send(&mut socket, b"lost").unwrap();
    assert_eq!(socket.flush().unwrap_err().kind(), ErrorKind::BrokenPipe);
    let error = socket.frame(MAX_FRAME + 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn an_error_of_connecting_says_what_to_do() {
    let error = StreamSocket::connect(Path::new("/nowhere/net.sock")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "network socket /nowhere/net.sock: cannot connect; start a network there: \
         `passt --socket /nowhere/net.sock`"
    );
}
