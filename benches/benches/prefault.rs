//! Prefault of RAM beside memset of as much new memory, whose pages the host's kernel makes as it
//! goes: by one thread, and by as many threads as prefault has.
//!
//! `cargo bench --bench prefault [MEBIBYTES]`, 4096 without. Each is done several times, one after the
//! other, and the best of each counts: what else the machine does only ever makes it slower.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the figures are what the program is for"
)]

use std::thread;
use std::time::{Duration, Instant};

use vmmkit_guest_memory::{Backing, GuestRam, RamConfig, RamSize, ThpAdvice};

const TURNS: usize = 5;

fn main() {
    // Harnesses pass flags of their own.
    let size = std::env::args().find_map(|word| word.parse().ok());
    let size = RamSize::mebibytes(size.unwrap_or(4096));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    println!("{size}, {threads} threads, best of {TURNS}, GiB/s (share of the first memset)");
    for thp in [ThpAdvice::Always, ThpAdvice::Never] {
        let mut best = [Duration::MAX; 4];
        for _ in 0..TURNS {
            let times = [
                fresh_memset(size, thp, 1),
                fresh_memset(size, thp, threads),
                prefault(size, thp, Backing::Anonymous),
                prefault(size, thp, Backing::Memfd),
            ];
            for (best, time) in best.iter_mut().zip(times) {
                *best = time.min(*best);
            }
        }
        let speed =
            |time: Duration| size.bytes() as f64 / (1_u64 << 30) as f64 / time.as_secs_f64();
        let names = [
            "memset of new pages, 1 thread",
            "memset of new pages, all threads",
            "prefault, anonymous",
            "prefault, memfd",
        ];
        println!("transparent huge pages: {thp:?}");
        for (name, time) in names.into_iter().zip(best) {
            let share = best[0].as_secs_f64() / time.as_secs_f64();
            println!("  {name:<34} {:6.2} ({share:.2})", speed(time));
        }
    }
}

/// How long it takes to fill RAM that was never touched.
fn fresh_memset(size: RamSize, thp: ThpAdvice, threads: usize) -> Duration {
    let ram = made(size, thp, Backing::Anonymous, false);
    let started = Instant::now();
    thread::scope(|scope| {
        for region in ram.regions() {
            let share = region.size / threads as u64;
            for index in 0..threads as u64 {
                let start = region.host_address + index * share;
                scope.spawn(move || {
                    // SAFETY: the range lies in a region of `ram`, which is mapped for writing until
                    // after the scope; no other thread has a part of it, and there is no reference.
                    unsafe { std::ptr::write_bytes(start as *mut u8, 1, share as usize) }
                });
            }
        }
    });
    started.elapsed()
}

/// How long it takes to make RAM with all its pages.
fn prefault(size: RamSize, thp: ThpAdvice, backing: Backing) -> Duration {
    let started = Instant::now();
    let ram = made(size, thp, backing, true);
    let time = started.elapsed();
    drop(ram);
    time
}

fn made(size: RamSize, thp: ThpAdvice, backing: Backing, prefault: bool) -> GuestRam {
    let config = RamConfig {
        size,
        backing,
        thp,
        prefault,
        ..RamConfig::default()
    };
    match GuestRam::new(&config) {
        Ok(ram) => ram,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1)
        }
    }
}
