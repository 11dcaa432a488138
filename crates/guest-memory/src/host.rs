//! Resources of the host: memory, swap, huge pages.

use std::fs;
use std::io;
use std::path::Path;

use crate::{Backing, RamConfig, RamError};

/// The huge pages of x86-64: 2 MiB and 1 GiB (AMD APM volume 2, section 5.3).
pub(crate) const HUGE_PAGE_SIZES: [u64; 2] = [2 << 20, 1 << 30];

/// Refuses RAM that the host could never provide. Files are not limited: their pages can always
/// go back to the disk; huge pages are limited by their own reserve.
pub(crate) fn check_capacity(config: &RamConfig) -> Result<(), RamError> {
    if !matches!(config.backing, Backing::Anonymous | Backing::Memfd) {
        return Ok(());
    }
    let most = config.max.unwrap_or(config.size).bytes();
    let host = rustix::system::sysinfo();
    let total = host.totalram.saturating_add(host.totalswap);
    if most > total {
        return Err(RamError::MoreThanHost {
            size: most,
            limit: total,
            resource: "memory and swap",
        });
    }
    if !config.prefault {
        return Ok(());
    }
    let Some(memory) = available() else {
        return Ok(());
    };
    let limit = memory.saturating_add(host.freeswap);
    let size = config.size.bytes();
    if size > limit {
        let resource = "memory and swap available now for prefault";
        return Err(RamError::MoreThanHost {
            size,
            limit,
            resource,
        });
    }
    Ok(())
}

/// Bytes that can be used without swapping: MemAvailable (proc_meminfo(5)).
fn available() -> Option<u64> {
    parse_available(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Why `size` bytes of huge pages could not be mapped: mostly the reserve is too small.
pub(crate) fn huge_page_shortage(size: u64, page_size: u64, source: io::Error) -> RamError {
    let directory = format!("/sys/kernel/mm/hugepages/hugepages-{}kB", page_size / 1024);
    let count = |file: &str| -> u64 {
        let text = fs::read_to_string(format!("{directory}/{file}")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    if !Path::new(&directory).exists() {
        return RamError::NoHugePages { page_size, source };
    }
    let free = count("free_hugepages").saturating_sub(count("resv_hugepages"));
    let needed = size / page_size;
    if free >= needed {
        return RamError::Map { size, source };
    }
    RamError::HugePages {
        size,
        needed,
        free,
        reserve: format!("{directory}/nr_hugepages"),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_in_bytes() {
        let meminfo = "MemTotal:       24633188 kB\nMemAvailable:   23068672 kB\nBuffers: 0 kB\n";
        assert_eq!(parse_available(meminfo), Some(22 << 30));
    }

    #[test]
    fn a_file_without_the_line_has_no_answer() {
        assert_eq!(parse_available("MemTotal: 1 kB\n"), None);
        assert_eq!(parse_available("MemAvailable: many kB\n"), None);
    }
}
