//! What a stranger sends a network device: a packet's header and a command from the guest, a stream
//! of frames from the host. No panic; every frame that is found is what was in the stream.

use vmmkit_host_io::{FrameReader, MAX_FRAME};
use vmmkit_virtio_devices::{ControlCommand, PacketHeader};

/// Takes one input.
pub fn run(data: &[u8]) {
    if let Some(header) = data.first_chunk() {
        let header = PacketHeader::parse(header);
        assert!(header.leaves_work() || (header.flags & 1 == 0 && header.gso_type == 0));
    }
    let command = ControlCommand::parse(data);
    let long = [data, &[0; 16]].concat();
    assert!(command.is_none() || command == ControlCommand::parse(&long));

    let Some((first, mut stream)) = data.split_first() else {
        return;
    };
    let (mut frames, mut place) = (FrameReader::new(), 0);
    let whole = stream;
    let piece = usize::from(*first) + 1;
    loop {
        match frames.has_frame() {
            Err(_) => return,
            Ok(true) => {
                let frame = frames.take_frame();
                assert!(frame.len() <= MAX_FRAME);
                place += 4;
                assert_eq!(frame, &whole[place..place + frame.len()]);
                place += frame.len();
            }
            Ok(false) => {
                let room = frames.room();
                assert!(!room.is_empty());
                let length = stream.len().min(piece).min(room.len());
                if length == 0 {
                    return;
                }
                room[..length].copy_from_slice(&stream[..length]);
                frames.filled(length);
                stream = &stream[length..];
            }
        }
    }
}
