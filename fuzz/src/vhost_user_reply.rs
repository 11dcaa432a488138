//! Any bytes as the answers of a vhost-user back end, from the negotiation to a driver that comes and goes:
//! they are taken, or the back end is refused or lost. The first byte says which device it is.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;

use vmmkit_guest_memory::Backing;
use vmmkit_virtio::fake::{Driver, Options};
use vmmkit_virtio_devices::VhostUser;

/// A back end that answers what it is told to, whatever it is asked.
struct Peer {
    path: PathBuf,
    answers: Mutex<Sender<Vec<u8>>>,
}

static PEER: LazyLock<Peer> = LazyLock::new(|| {
    let name = format!("vmmkit-vhost-user-reply-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let listener = UnixListener::bind(&path).unwrap();
    let (answers, told) = channel::<Vec<u8>>();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // One that is looked for again, after it was lost, says nothing.
            let bytes = told.try_recv().unwrap_or_default();
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    // SAFETY: it has no preconditions; what is called at the end lives as long as the program.
    unsafe { libc::atexit(remove_socket) };
    Peer {
        path,
        answers: Mutex::new(answers),
    }
});

extern "C" fn remove_socket() {
    let _ = std::fs::remove_file(&PEER.path);
}

/// Takes one input.
pub fn run(data: &[u8]) {
    let Some((kind, answers)) = data.split_first() else {
        return;
    };
    let peer = &*PEER;
    let sender = peer.answers.lock().unwrap();
    sender.send(answers.to_vec()).unwrap();
    let device = match kind % 2 {
        0 => VhostUser::fs(&peer.path, "srv"),
        _ => VhostUser::blk(&peer.path),
    };
    let Ok(device) = device else {
        return;
    };
    let mut options = Options::default();
    options.ram.backing = Backing::Memfd;
    // What a back end does not keep is an error here, or has it lost.
    if let Ok(driver) = Driver::start_with(Arc::new(device), &options) {
        drop(driver);
    }
}
