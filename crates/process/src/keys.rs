//! The keys that a VMM keeps for itself: Ctrl-a, and one more.

/// Ctrl-a.
const PREFIX: u8 = 0x01;
const CTRL_Z: u8 = 0x1a;

/// A request of the user to the VMM, not to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Ctrl-a h: show the keys.
    Help,
    /// Ctrl-a x: quit.
    Quit,
    /// Ctrl-a c: show the state of every part of the machine.
    Monitor,
    /// Ctrl-a b: a BREAK on the serial line, which begins a SysRq command. What was typed before it and the
    /// guest has not read yet is dropped: the guest takes the byte after a BREAK for the command.
    Break,
    /// Ctrl-a t: the time before each line of output, or no longer.
    Timestamps,
    /// Ctrl-a z, or Ctrl-a Ctrl-z: stop the job, as Ctrl-Z does to other programs.
    Stop,
    /// Ctrl-a d: leave a console that this terminal is attached to.
    Detach,
}

/// The text for Ctrl-a h.
pub const HELP: &str = "keys:
  Ctrl-a h       this help
  Ctrl-a x       quit: stop the guest at once
  Ctrl-a b       send a BREAK; the next key is a SysRq command
  Ctrl-a c       show the state of every part
  Ctrl-a t       begin each line of output with the time, or cease to
  Ctrl-a z       pause the guest and go back to the shell (fg goes on)
  Ctrl-a Ctrl-a  send Ctrl-a to the guest";

/// The meaning of one byte that was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A byte for the guest.
    Guest(u8),
    /// The end of a command.
    Command(Command),
    /// The prefix of a command, or the end of one that is unknown.
    Nothing,
}

/// Takes the commands out of what is typed.
#[derive(Debug, Default)]
pub struct Keys {
    after_prefix: bool,
}

impl Keys {
    /// The meaning of the next byte.
    pub fn next(&mut self, byte: u8) -> Key {
        if !self.after_prefix {
            self.after_prefix = byte == PREFIX;
            return match self.after_prefix {
                true => Key::Nothing,
                false => Key::Guest(byte),
            };
        }
        self.after_prefix = false;
        Key::Command(match byte {
            PREFIX => return Key::Guest(byte),
            b'h' | b'?' => Command::Help,
            b'x' => Command::Quit,
            b'c' => Command::Monitor,
            b'b' => Command::Break,
            b't' => Command::Timestamps,
            b'z' | CTRL_Z => Command::Stop,
            b'd' => Command::Detach,
            _ => return Key::Nothing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that reach the guest, and the commands.
    fn filtered(typed: &[u8]) -> (Vec<u8>, Vec<Command>) {
        let mut keys = Keys::default();
        let (mut guest, mut commands) = (Vec::new(), Vec::new());
        for byte in typed {
            match keys.next(*byte) {
                Key::Guest(byte) => guest.push(byte),
                Key::Command(command) => commands.push(command),
                Key::Nothing => {}
            }
        }
        (guest, commands)
    }

    #[test]
    fn ordinary_keys_and_ctrl_c_reach_the_guest() {
        assert_eq!(filtered(b"ls\r\x03"), (b"ls\r\x03".to_vec(), vec![]));
    }

    #[test]
    fn commands_do_not_reach_the_guest() {
        let expected = vec![
            Command::Help,
            Command::Break,
            Command::Monitor,
            Command::Quit,
            Command::Timestamps,
            Command::Stop,
            Command::Stop,
        ];
        assert_eq!(
            filtered(b"a\x01hb\x01bc\x01cd\x01x\x01t\x01z\x01\x1a"),
            (b"abcd".to_vec(), expected)
        );
    }

    #[test]
    fn ctrl_a_twice_sends_one() {
        assert_eq!(filtered(b"\x01\x01x"), (b"\x01x".to_vec(), vec![]));
    }

    #[test]
    fn an_unknown_command_is_dropped() {
        assert_eq!(filtered(b"\x01kq"), (b"q".to_vec(), vec![]));
    }
}
