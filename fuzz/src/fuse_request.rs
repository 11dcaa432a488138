//! Any bytes as messages of a guest to the server of a shared directory: no panic, an answer is of the length that it
//! says, what is open stays within its bounds, and what is beside the directory stays as it was.

use std::fs;
use std::path::Path;

use vmmkit_fuse::{Access, Directory, Limits, Request, Session};

const LIMITS: Limits = Limits {
    inodes: 16,
    files: 4,
    descriptors: 4,
};

/// Bytes of a header.
const HEADER: usize = 40;

/// Takes one input.
pub fn run(data: &[u8]) {
    if let Ok(request) = Request::parse(data) {
        assert_eq!(request.header.opcode.to_le_bytes(), data[4..8]);
    }
    let place = std::env::temp_dir().join(format!("fuse-fuzz-{}", std::process::id()));
    prepare(&place);
    // An odd input may write.
    let access = match data.len() % 2 {
        0 => Access::ReadOnly,
        _ => Access::ReadWrite,
    };
    let directory = Directory::open(place.join("shared"), access).unwrap();
    talk(Session::new(directory.into(), LIMITS), data);
    assert_eq!(fs::read(place.join("outside")).unwrap(), b"outside");
    assert_eq!(fs::read_dir(&place).unwrap().count(), 2);
    fs::remove_dir_all(&place).unwrap();
}

fn prepare(place: &Path) {
    fs::create_dir_all(place.join("shared/a")).unwrap();
    fs::write(place.join("outside"), "outside").unwrap();
    fs::write(place.join("shared/b"), "b").unwrap();
    fs::write(place.join("shared/a/c"), "c").unwrap();
}

/// Messages of an operation, a node and a length, a byte each, and what follows the header.
fn talk(mut session: Session, data: &[u8]) {
    let mut rest = data;
    while let [opcode, node, length, more @ ..] = rest {
        let (fields, after) = more.split_at(more.len().min(usize::from(*length)));
        rest = after;
        let mut message = vec![0; HEADER];
        message[0] = (HEADER + fields.len()) as u8;
        message[4] = *opcode;
        message[16] = *node;
        message.extend(fields);
        let mut answer = [0; 512];
        let length = session.handle(&mut message.as_slice(), &mut answer.as_mut_slice());
        assert!(length as usize <= answer.len());
        assert!(length == 0 || answer[..4] == length.to_le_bytes());
        let counters = session.counters();
        assert!(counters.inodes() <= 16 && counters.files() <= 4);
        assert!(counters.descriptors() <= 4 + 4);
    }
}
