//! The form of an answer.

use rustix::io::Errno;

use crate::bytes::Answer;
use crate::carrier::Output;
use crate::opcode::OUT_HEADER;

/// The end of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// There is no answer.
    Silent,
    /// The answer is what was collected.
    Collected,
    /// So many bytes of a file are in place behind the header.
    Data(u32),
}

/// Writes the answer to message `unique`; its length.
pub(crate) fn write_answer(
    output: &mut dyn Output,
    unique: u64,
    done: Result<Done, Errno>,
    collected: &Answer,
) -> u32 {
    let (length, error) = match done {
        Ok(Done::Silent) => return 0,
        Ok(Done::Collected) => (collected.0.len() as u64, 0),
        Ok(Done::Data(length)) => (length.into(), 0),
        Err(errno) => (0, -errno.raw_os_error()),
    };
    let whole = OUT_HEADER as u64 + length;
    let (Ok(whole), true) = (u32::try_from(whole), whole <= output.room()) else {
        return 0;
    };
    let mut header = Answer::default();
    header.u32(whole).u32(error.cast_unsigned()).u64(unique);
    output.write(0, &header.0);
    if done == Ok(Done::Collected) {
        output.write(OUT_HEADER as u64, &collected.0);
    }
    whole
}
