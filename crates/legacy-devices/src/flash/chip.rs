//! The state machine of the commands. No lock, no file.

use super::spec::{BLOCK, DEVICE, MAKER, command, status};

/// The meaning of a read and of the next write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// Reads return the contents; the next write is a command.
    #[default]
    Array,
    /// The status register; a command.
    Status,
    /// The identity; a command.
    Id,
    /// The status register; the bytes for the cells.
    Program,
    /// The status register; the confirmation of an erasure.
    Erase,
}

impl Mode {
    pub(super) const ALL: [(Self, &'static str); 5] = [
        (Self::Array, "array"),
        (Self::Status, "status"),
        (Self::Id, "id"),
        (Self::Program, "program"),
        (Self::Erase, "erase"),
    ];
}

/// The consequence of a write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// `bytes` are to be at `offset`: they are kept, and then [completed](Chip::complete).
    Bytes { offset: u64, bytes: Vec<u8> },
    /// The guest is done with a step, and reads again.
    End,
}

/// The chip.
#[derive(Debug)]
pub(super) struct Chip {
    contents: Box<[u8]>,
    // What the guest can see beside
    mode: Mode,
    status: u8,
}

impl Chip {
    pub(super) fn new(contents: Box<[u8]>) -> Self {
        Self {
            contents,
            mode: Mode::default(),
            status: 0,
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.contents.len() as u64
    }

    pub(super) fn contents(&self) -> &[u8] {
        &self.contents
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    pub(super) fn status(&self) -> u8 {
        self.status
    }

    pub(super) fn restore(&mut self, mode: Mode, status: u8) {
        self.mode = mode;
        self.status = status & status::ALL;
    }

    pub(super) fn reset(&mut self) {
        self.restore(Mode::default(), 0);
    }

    /// Reads from `offset`; all ones beyond the end.
    pub(super) fn read(&self, offset: u64, data: &mut [u8]) {
        for (at, byte) in (offset..=u64::MAX).zip(data) {
            *byte = match self.mode {
                Mode::Array => self.byte(at).unwrap_or(0xff),
                Mode::Status | Mode::Program | Mode::Erase => self.status,
                Mode::Id if at & 1 == 0 => MAKER,
                Mode::Id => DEVICE,
            };
        }
    }

    /// Writes at `offset`: a command, or what the one before has asked for.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) -> Change {
        match self.mode {
            Mode::Program => self.program(offset, data),
            Mode::Erase => self.erase(offset, data),
            // Each byte lane is the same chip: the lowest one counts.
            _ => self.command(data.first().copied().unwrap_or(command::READ_ARRAY)),
        }
    }

    /// The change that a write has asked for is kept, or cannot be.
    pub(super) fn complete(&mut self, offset: u64, bytes: &[u8], is_kept: bool) {
        self.status |= status::READY;
        if !is_kept {
            self.status |= match bytes.len() as u64 {
                BLOCK => status::ERASE_ERROR,
                _ => status::PROGRAM_ERROR,
            };
            return;
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        for (cell, byte) in self.contents.iter_mut().skip(start).zip(bytes) {
            *cell = *byte;
        }
    }

    fn command(&mut self, code: u8) -> Change {
        self.mode = match code {
            command::PROGRAM | command::PROGRAM_ALTERNATE => Mode::Program,
            command::ERASE => Mode::Erase,
            command::READ_STATUS => Mode::Status,
            command::READ_ID => Mode::Id,
            command::CLEAR_STATUS => {
                self.status = 0;
                Mode::Array
            }
            // Also an unknown code.
            _ => Mode::Array,
        };
        match code {
            command::READ_ARRAY => Change::End,
            _ => Change::None,
        }
    }

    /// Cells go from 1 to 0 alone.
    fn program(&mut self, offset: u64, data: &[u8]) -> Change {
        self.mode = Mode::Status;
        let old = (offset..=u64::MAX).map(|at| self.byte(at));
        let bytes: Option<Vec<_>> = old.zip(data).map(|(old, new)| Some(old? & new)).collect();
        match bytes {
            Some(bytes) => Change::Bytes { offset, bytes },
            None => {
                self.status |= status::READY | status::PROGRAM_ERROR;
                Change::None
            }
        }
    }

    fn erase(&mut self, offset: u64, data: &[u8]) -> Change {
        self.mode = Mode::Status;
        let offset = offset - offset % BLOCK;
        if data.first() == Some(&command::CONFIRM) && offset < self.size() {
            let bytes = vec![0xff; BLOCK as usize];
            return Change::Bytes { offset, bytes };
        }
        // The sequence of commands is wrong: both bits say so.
        self.status |= status::READY | status::ERASE_ERROR | status::PROGRAM_ERROR;
        Change::None
    }

    fn byte(&self, at: u64) -> Option<u8> {
        let at = usize::try_from(at).ok()?;
        self.contents.get(at).copied()
    }
}
