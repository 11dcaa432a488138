//! A ring that the host holds to the operations it was made for (io_uring_register(2)).

use std::io;

use io_uring::register::Restriction;
use io_uring::squeue::Flags;
use io_uring::{IoUring, Submitter, opcode};

/// IORING_UNREGISTER_FILES, which closes the file when the ring is dropped.
const UNREGISTER_FILES: u8 = 3;

/// The operations that a [`Slot`](super::slot::Slot) is ever made into.
const OPERATIONS: [u8; 4] = [
    opcode::Readv::CODE,
    opcode::Writev::CODE,
    opcode::Fsync::CODE,
    opcode::Fallocate::CODE,
];

/// A ring of `entries`, prepared by `register`; afterwards it takes only [`OPERATIONS`], on registered files
/// alone, and no further file, buffer or personality can be registered.
///
/// A kernel before 5.10 has no restrictions, and gives a ring without them.
pub(super) fn ring(
    entries: u32,
    register: impl Fn(&Submitter<'_>) -> io::Result<()>,
) -> io::Result<IoUring> {
    let disabled = IoUring::builder().setup_r_disabled().build(entries);
    let ring = match disabled {
        Ok(ring) => ring,
        // IORING_SETUP_R_DISABLED is not known.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            let ring = IoUring::new(entries)?;
            register(&ring.submitter())?;
            return Ok(ring);
        }
        Err(error) => return Err(error),
    };
    let submitter = ring.submitter();
    register(&submitter)?;
    submitter.register_restrictions(&mut restrictions())?;
    submitter.register_enable_rings()?;
    Ok(ring)
}

fn restrictions() -> Vec<Restriction> {
    let fixed = Flags::FIXED_FILE.bits();
    let mut all = Vec::from(OPERATIONS.map(Restriction::sqe_op));
    all.push(Restriction::sqe_flags_allowed(fixed));
    all.push(Restriction::sqe_flags_required(fixed));
    all.push(Restriction::register_op(UNREGISTER_FILES));
    all
}
