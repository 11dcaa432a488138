//! The keys that a VMM keeps for itself: Ctrl-a, and one more.

/// Ctrl-a.
const PREFIX: u8 = 0x01;
const CTRL_Z: u8 = 0x1a;

/// What the user asks of the VMM, not of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Ctrl-a h: show the keys.
    Help,
    /// Ctrl-a x: quit.
    Quit,
    /// Ctrl-a c: show the state of every part of the machine.
    Monitor,
    /// Ctrl-a b: a BREAK on the serial line, which begins a SysRq command.
    Break,
    /// Ctrl-a t: the time before each line of output, or no longer.
    Timestamps,
    /// Ctrl-a z, or Ctrl-a Ctrl-z: stop the job, as Ctrl-Z does to other programs.
    Stop,
}

/// The text for Ctrl-a h.
pub const HELP: &str = "keys:
  Ctrl-a h       this help
  Ctrl-a x       quit: stop the guest at once
  Ctrl-a b       send a BREAK; the next key is a SysRq command
  Ctrl-a c       show the state of every part, as `vmmkit inspect` does
  Ctrl-a t       begin each line of output with the time, or cease to
  Ctrl-a z       pause the guest and go back to the shell (fg goes on)
  Ctrl-a Ctrl-a  send Ctrl-a to the guest";

/// Takes the commands out of what is typed.
#[derive(Debug, Default)]
pub struct Keys {
    after_prefix: bool,
}

impl Keys {
    /// Leaves in `typed` only what is for the guest, and returns how many bytes that is; calls
    /// `act` for each command.
    pub fn filter(&mut self, typed: &mut [u8], mut act: impl FnMut(Command)) -> usize {
        let mut kept = 0;
        for index in 0..typed.len() {
            let Some(&byte) = typed.get(index) else { break };
            let is_for_guest = if self.after_prefix {
                self.after_prefix = false;
                match byte {
                    b'h' | b'?' => act(Command::Help),
                    b'x' => act(Command::Quit),
                    b'c' => act(Command::Monitor),
                    b'b' => act(Command::Break),
                    b't' => act(Command::Timestamps),
                    b'z' | CTRL_Z => act(Command::Stop),
                    _ => {}
                }
                byte == PREFIX
            } else {
                self.after_prefix = byte == PREFIX;
                !self.after_prefix
            };
            if is_for_guest {
                // `kept` never passes `index`.
                if let Some(place) = typed.get_mut(kept) {
                    *place = byte;
                }
                kept += 1;
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What reaches the guest, and the commands, when `typed` comes in these pieces.
    fn filtered(pieces: &[&[u8]]) -> (Vec<u8>, Vec<Command>) {
        let mut keys = Keys::default();
        let (mut guest, mut commands) = (Vec::new(), Vec::new());
        for piece in pieces {
            let mut bytes = piece.to_vec();
            let kept = keys.filter(&mut bytes, |command| commands.push(command));
            guest.extend_from_slice(&bytes[..kept]);
        }
        (guest, commands)
    }

    #[test]
    fn ordinary_keys_and_ctrl_c_reach_the_guest() {
        assert_eq!(filtered(&[b"ls\r\x03"]), (b"ls\r\x03".to_vec(), vec![]));
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
            filtered(&[b"a\x01hb\x01bc\x01cd\x01x\x01t\x01z\x01\x1a"]),
            (b"abcd".to_vec(), expected)
        );
    }

    #[test]
    fn a_command_may_come_in_two_pieces() {
        assert_eq!(filtered(&[b"\x01", b"x"]), (vec![], vec![Command::Quit]));
    }

    #[test]
    fn ctrl_a_twice_sends_one() {
        assert_eq!(filtered(&[b"\x01\x01x"]), (b"\x01x".to_vec(), vec![]));
    }

    #[test]
    fn an_unknown_command_is_dropped() {
        assert_eq!(filtered(&[b"\x01kq"]), (b"q".to_vec(), vec![]));
    }
}
