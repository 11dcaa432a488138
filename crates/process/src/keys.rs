//! The keys that a VMM keeps for itself: Ctrl-a, and one more.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

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

/// The text for Ctrl-a h, as [`EscapeKey::in_text`] takes it.
pub const HELP: &str = "keys:
  Ctrl-a h       this help
  Ctrl-a x       quit: stop the guest at once
  Ctrl-a b       send a BREAK; the next key is a SysRq command
  Ctrl-a c       show the state of every part
  Ctrl-a t       begin each line of output with the time, or cease to
  Ctrl-a z       pause the guest and go back to the shell (fg goes on)
  Ctrl-a Ctrl-a  send Ctrl-a to the guest";

/// The key that begins a command: Ctrl-a, unless another one is chosen, or none.
///
/// ```
/// use vmmkit_process::EscapeKey;
///
/// let key: EscapeKey = "ctrl-]".parse()?;
/// assert_eq!(key.to_string(), "ctrl-]");
/// assert_eq!(key.in_text("Ctrl-a x quits"), "Ctrl-] x quits");
/// assert!("none".parse::<EscapeKey>()?.is_none());
/// # Ok::<(), vmmkit_process::NoSuchKey>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EscapeKey(Option<u8>);

/// A text that names no key with Ctrl.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("this is not a key with Ctrl")]
pub struct NoSuchKey;

impl EscapeKey {
    /// All keys are the guest's.
    pub fn is_none(self) -> bool {
        self.0.is_none()
    }

    /// `text`, which speaks of Ctrl-a, with this key.
    pub fn in_text(self, text: &str) -> String {
        match self.0 {
            Some(PREFIX) | None => text.to_owned(),
            Some(_) => text.replace("Ctrl-a", &format!("C{}", &self.to_string()[1..])),
        }
    }
}

impl Default for EscapeKey {
    /// Ctrl-a.
    fn default() -> Self {
        Self(Some(PREFIX))
    }
}

impl FromStr for EscapeKey {
    type Err = NoSuchKey;

    /// none, or ctrl-KEY or ^KEY with a letter or one of `@[\]^_`. Not those that terminals send for other keys: Ctrl-h,
    /// Ctrl-i, Ctrl-j, Ctrl-m and Ctrl-[.
    fn from_str(text: &str) -> Result<Self, NoSuchKey> {
        if text == "none" {
            return Ok(Self(None));
        }
        let text = text.to_ascii_lowercase();
        let key = text.strip_prefix("ctrl-").or(text.strip_prefix('^'));
        let [key] = key.unwrap_or_default().as_bytes() else {
            return Err(NoSuchKey);
        };
        match key {
            b'h' | b'i' | b'j' | b'm' | b'[' => Err(NoSuchKey),
            b'a'..=b'z' | b'@' | b'\\' | b']' | b'^' | b'_' => Ok(Self(Some(key & 0x1f))),
            _ => Err(NoSuchKey),
        }
    }
}

impl fmt::Display for EscapeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("none"),
            Some(byte @ 1..=26) => write!(f, "ctrl-{}", char::from(byte | 0x60)),
            Some(byte) => write!(f, "ctrl-{}", char::from(byte | 0x40)),
        }
    }
}

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
    escape: EscapeKey,
    after_prefix: bool,
}

impl Keys {
    /// Commands begin with `escape`.
    pub fn new(escape: EscapeKey) -> Self {
        Self {
            escape,
            after_prefix: false,
        }
    }

    /// The meaning of the next byte.
    pub fn next(&mut self, byte: u8) -> Key {
        if !self.after_prefix {
            self.after_prefix = self.escape.0 == Some(byte);
            return match self.after_prefix {
                true => Key::Nothing,
                false => Key::Guest(byte),
            };
        }
        self.after_prefix = false;
        Key::Command(match byte {
            _ if self.escape.0 == Some(byte) => return Key::Guest(byte),
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

    #[test]
    fn another_key_begins_commands_or_none() {
        let typed = |escape: &str, typed: &[u8]| {
            let mut keys = Keys::new(escape.parse().unwrap());
            let all: Vec<Key> = typed.iter().map(|byte| keys.next(*byte)).collect();
            all
        };
        let quit = Key::Command(Command::Quit);
        assert_eq!(typed("ctrl-]", b"\x1dx"), [Key::Nothing, quit]);
        assert_eq!(typed("^]", b"\x1d\x1d"), [Key::Nothing, Key::Guest(0x1d)]);
        assert_eq!(typed("ctrl-]", b"\x01x"), [Key::Guest(1), Key::Guest(b'x')]);
        assert_eq!(
            typed("Ctrl-Z", b"\x1a\x1a"),
            [Key::Nothing, Key::Guest(0x1a)]
        );
        assert_eq!(typed("none", b"\x01x"), [Key::Guest(1), Key::Guest(b'x')]);
        for wrong in [
            "",
            "a",
            "ctrl-",
            "ctrl-aa",
            "^",
            "ctrl-1",
            "ctrl-m",
            "ctrl-[",
            "ctrl-\u{e4}",
        ] {
            assert_eq!(wrong.parse::<EscapeKey>(), Err(NoSuchKey), "{wrong}");
        }
        for name in ["none", "ctrl-a", "ctrl-z", "ctrl-@", "ctrl-\\", "ctrl-_"] {
            assert_eq!(name.parse::<EscapeKey>().unwrap().to_string(), name);
        }
    }
}
