//! The task in the initial RAM disk, and the lines of the port for the status, as the host and the guest's program
//! read and write them. Both compile this file.

/// The name of the port of the command's input.
pub const STDIN: &str = "command.stdin";
/// The name of the port of its output.
pub const STDOUT: &str = "command.stdout";
/// The name of the port of its errors.
pub const STDERR: &str = "command.stderr";
/// The name of the port on which the guest tells how the command ended, and hears of signals for it.
pub const STATUS: &str = "command.status";
/// A task has fewer bytes.
pub(crate) const MAX: usize = 8 << 20;
/// The place of the task in the initial RAM disk.
pub(crate) const FILE: &str = "task";
/// Ends each text of a task: no argument and no variable has one inside.
pub(crate) const END: u8 = 0;
/// The task's root may be changed.
pub(crate) const WRITABLE: u8 = b'w';
/// The task runs at a terminal.
pub(crate) const TERMINAL: u8 = b't';

/// A task: texts one after the other. Each has its [`END`] with it, as the kernel wants texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskText<'a> {
    pub(crate) tag: &'a [u8],
    /// Letters.
    pub(crate) flags: &'a [u8],
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) directory: &'a [u8],
    pub(crate) host_name: &'a [u8],
    /// How many of the texts below are arguments. The others are variables.
    pub(crate) arguments: u32,
    pub(crate) texts: &'a [u8],
}

impl<'a> TaskText<'a> {
    /// None where it is cut off.
    pub(crate) fn parse(mut bytes: &'a [u8]) -> Option<Self> {
        let rest = &mut bytes;
        Some(Self {
            tag: text(rest)?,
            flags: text(rest)?,
            uid: number(text(rest)?)?,
            gid: number(text(rest)?)?,
            directory: text(rest)?,
            host_name: text(rest)?,
            arguments: number(text(rest)?)?,
            texts: bytes,
        })
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags.contains(&flag)
    }
}

/// The next text with its end, which is taken out of `rest`.
pub(crate) fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|byte| *byte == END)? + 1;
    let (text, behind) = rest.split_at_checked(end)?;
    *rest = behind;
    Some(text)
}

/// Digits, and an end or none.
pub(crate) fn number(digits: &[u8]) -> Option<u32> {
    let digits = digits.strip_suffix(&[END]).unwrap_or(digits);
    let add = |sum: u32, digit: &u8| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        sum.checked_mul(10)?.checked_add(digit.into())
    };
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0, add)
}

/// The signal that a line asks for.
pub(crate) fn signal(line: &[u8]) -> Option<u8> {
    let signal = number(line.strip_prefix(b"signal ")?)?;
    u8::try_from(signal)
        .ok()
        .filter(|signal| (1..=64).contains(signal))
}
