//! Touching every page before the guest starts.

use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use rustix::io::Errno;
use rustix::mm::{Advice, madvise};

use crate::{PAGE_SIZE, RamError, RamRegion};

/// Bytes that one thread populates; clearing this much takes the host tens of milliseconds.
const SHARE: u64 = 256 << 20;
/// More threads than this only wait for the memory bus.
const MAX_THREADS: usize = 16;

/// Touches every page of `regions`, whose mappings the caller keeps and has shared with no one.
pub(crate) fn touch_all(regions: &[RamRegion], size: u64) -> Result<(), RamError> {
    let shares: Vec<(u64, u64)> = regions
        .iter()
        .flat_map(|region| {
            (0..region.size).step_by(SHARE as usize).map(|offset| {
                (
                    region.host_address + offset,
                    SHARE.min(region.size - offset),
                )
            })
        })
        .collect();
    let threads = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(MAX_THREADS);
    let per_thread = shares.len().div_ceil(threads).max(1);
    let result = thread::scope(|scope| {
        let mut lots = shares.chunks(per_thread);
        let own = lots.next().unwrap_or_default();
        let others: Vec<_> = lots
            .map(|lot| scope.spawn(move || touch_lot(lot)))
            .collect();
        let first = touch_lot(own);
        others.into_iter().fold(first, |result, other| {
            let lost = || Err(io::Error::other("a prefault thread panicked"));
            result.and(other.join().unwrap_or_else(|_| lost()))
        })
    });
    result.map_err(|source| RamError::Prefault { size, source })
}

fn touch_lot(lot: &[(u64, u64)]) -> io::Result<()> {
    for &(start, length) in lot {
        // SAFETY: the range lies in a region of `touch_all`, which is mapped for writing;
        // MADV_POPULATE_WRITE maps its pages and leaves their contents alone.
        let populated =
            unsafe { madvise(start as *mut _, length as usize, Advice::LinuxPopulateWrite) };
        match populated {
            Ok(()) => {}
            // Linux before 5.14 knows no such advice.
            Err(Errno::INVAL) => touch_each(start, length),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Writes to each page what it holds.
fn touch_each(start: u64, length: u64) {
    for page in (start..start + length).step_by(PAGE_SIZE as usize) {
        // SAFETY: the byte lies in a region of `touch_all`, mapped for reading and writing and
        // not unmapped while that runs; every access to it is atomic until RAM is handed out.
        let byte = unsafe { AtomicU8::from_ptr(page as *mut u8) };
        // A locked compare-exchange is a write to the page even where it stores the same byte.
        // Ordering: nobody else has the memory yet.
        let _ = byte.compare_exchange(0, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_by_hand_keeps_what_pages_hold() {
        let mut bytes = vec![7_u8; 3 * PAGE_SIZE as usize];
        touch_each(bytes.as_mut_ptr() as u64, bytes.len() as u64);
        assert!(bytes.iter().all(|&byte| byte == 7));
    }
}
