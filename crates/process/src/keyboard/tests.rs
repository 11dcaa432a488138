use std::fs::File;
use std::io::Write;

use parking_lot::Mutex;
use vmmkit_host_io::{InputRead, InputSource, Pty, open_pty};

use super::*;
use crate::input::LIMIT;

struct Desk {
    _pty: Pty,
    hands: File,
    keyboard: Keyboard,
    input: TerminalInput,
    commands: Arc<Mutex<Vec<Command>>>,
    keys: Poller,
}

/// Waits for what the host does in its own time.
fn until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
}

impl Desk {
    fn new() -> Self {
        let pty = open_pty().unwrap();
        let job = Arc::new(Job::new().unwrap());
        let commands = Arc::new(Mutex::new(Vec::new()));
        let seen = commands.clone();
        let act = Box::new(move |command| seen.lock().push(command));
        let tty = pty.slave.try_clone().unwrap();
        let (keyboard, input) = Keyboard::new(tty, job.clone(), EscapeKey::default(), act).unwrap();
        assert!(job.take_terminal(pty.slave.as_fd()));
        let hands = File::from(pty.master.try_clone().unwrap());
        let keys = Poller::new().unwrap();
        keys.add(&pty.slave, 0, Interest::Readable).unwrap();
        Self {
            keys,
            _pty: pty,
            hands,
            keyboard,
            input,
            commands,
        }
    }

    /// Types `keys` and has them read.
    fn types(&mut self, keys: &[u8]) {
        for some in keys.chunks(CHUNK) {
            self.hands.write_all(some).unwrap();
            // What is written to the master end comes to the other by a worker of the host's.
            until(|| self.waits());
            while self.waits() && (self.keyboard.is_deaf || !self.keyboard.queue.is_full()) {
                assert!(self.keyboard.pump());
            }
        }
    }

    /// Whether keys wait in the terminal.
    fn waits(&self) -> bool {
        let mut ready = Vec::new();
        self.keys.look(&mut ready).unwrap();
        !ready.is_empty()
    }

    fn guest_reads(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        match self.input.read(&mut bytes).unwrap() {
            InputRead::Bytes(length) => bytes[..length].to_vec(),
            _ => Vec::new(),
        }
    }

    fn commands(&self) -> Vec<Command> {
        self.commands.lock().clone()
    }
}

#[test]
fn keys_for_the_vmm_are_taken_out_and_the_rest_is_read() {
    let mut desk = Desk::new();
    assert_eq!(desk.input.read(&mut [0; 4]).unwrap(), InputRead::NotReady);
    desk.types(b"a\x01\x01\x01x\x03");
    assert_eq!(desk.guest_reads(16), b"a\x01\x03");
    assert_eq!(desk.commands(), [Command::Quit]);
}

#[test]
fn a_command_is_carried_out_though_the_guest_takes_nothing() {
    let mut desk = Desk::new();
    desk.types(&[b'k'; 3 * CHUNK]);
    desk.types(b"\x01x");
    assert_eq!(desk.commands(), [Command::Quit]);
}

#[test]
fn a_break_drops_what_was_typed_before_it() {
    let mut desk = Desk::new();
    desk.types(b"ls");
    desk.types(b"ll\x01bs");
    assert_eq!(desk.commands(), [Command::Break]);
    assert_eq!(desk.guest_reads(16), b"s");
}

#[test]
fn a_full_queue_holds_the_writer_up_until_the_guest_is_deaf() {
    let mut desk = Desk::new();
    desk.types(&[b'k'; LIMIT]);
    assert!(desk.keyboard.queue.is_full());
    desk.hands.write_all(b"late").unwrap();
    until(|| desk.waits());
    assert!(desk.keyboard.pump());
    assert!(desk.waits() && !desk.keyboard.is_watched);
    // The guest takes some: the keyboard reads on, and nothing is lost.
    assert_eq!(desk.guest_reads(2 * CHUNK).len(), 2 * CHUNK);
    while desk.waits() {
        assert!(desk.keyboard.pump());
    }
    assert!(!desk.keyboard.is_deaf);
    desk.types(&[b'k'; 2 * CHUNK]);
    // It takes nothing for so long: keys work all the same.
    desk.keyboard.is_deaf = true;
    desk.types(b"lost\x01h");
    assert_eq!(desk.commands(), [Command::Help]);
    let mut all = Vec::new();
    while let bytes @ [_, ..] = &desk.guest_reads(CHUNK)[..] {
        all.extend_from_slice(bytes);
    }
    assert!(all.windows(4).any(|word| word == b"late"));
    assert!(!all.windows(4).any(|word| word == b"lost"));
    desk.types(b"heard");
    assert_eq!(desk.guest_reads(16), b"heard");
    assert!(!desk.keyboard.is_deaf);
}

#[test]
fn the_last_word_of_patience_is_that_the_guest_is_deaf() {
    let mut desk = Desk::new();
    desk.types(&[b'k'; LIMIT]);
    assert!(desk.keyboard.pump());
    assert!(desk.keyboard.is_waiting && !desk.keyboard.is_deaf);
    desk.keyboard.patience.arm_once(Duration::ZERO);
    until(|| desk.keyboard.pump() && desk.keyboard.is_deaf);
    // One byte taken is enough to be heard again.
    assert_eq!(desk.guest_reads(1), b"k");
    assert!(desk.keyboard.pump());
    assert!(!desk.keyboard.is_deaf);
}

#[test]
fn a_terminal_that_is_hung_up_is_the_end() {
    let pty = open_pty().unwrap();
    let job = Arc::new(Job::new().unwrap());
    let (mut keyboard, mut input) =
        Keyboard::new(pty.slave, job, EscapeKey::default(), Box::new(|_| {})).unwrap();
    drop(pty.master);
    assert!(!keyboard.pump());
    assert_eq!(input.read(&mut [0; 4]).unwrap(), InputRead::End);
}
