//! A bzImage's payload, decompressed and placed in guest RAM, beside its decompressor alone on the
//! same bytes; the two alternate in one run.
//!
//! `VMMKIT_BENCH_KERNEL` names a bzImage; without, one of 48 MiB is made up and packed with lz4.

#![expect(clippy::print_stdout, reason = "a bench reports on stdout")]

use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use vmmkit_boot_loader::payload::Compression;
use vmmkit_boot_loader::{BootSource, EntryChoice, Platform, load};
use vmmkit_guest_memory::{GuestRam, RamConfig, RamSize};

/// Pairs of runs; the fastest of each side counts.
const ROUNDS: usize = 15;

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    let image = match std::env::var_os("VMMKIT_BENCH_KERNEL") {
        Some(path) => {
            println!("kernel: {}", path.display());
            std::fs::read(path)?
        }
        None => {
            println!("kernel: made up (set VMMKIT_BENCH_KERNEL to a bzImage for a real one)");
            bzimage(&vmlinux())
        }
    };
    let payload = payload(&image).ok_or("not a bzImage with a payload")?;
    let compression = Compression::of(payload).ok_or("a payload of unknown compression")?;
    let kernel = file_of(&image)?;
    let ram = GuestRam::new(&RamConfig {
        size: RamSize::mebibytes(512),
        ..RamConfig::default()
    })?;
    let mut alone = Duration::MAX;
    let mut placed = Duration::MAX;
    let mut unpacked = 0;
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        unpacked = decompress(compression, payload)?;
        alone = alone.min(begin.elapsed());

        let mut source = BootSource::new(&kernel, "");
        source.entry = EntryChoice::Payload;
        let begin = Instant::now();
        load(&ram, source, &Platform::of(&[0]))?;
        placed = placed.min(begin.elapsed());
    }
    let rate = |time: Duration| unpacked as f64 / time.as_secs_f64() / 1e6;
    println!("{compression}: {} bytes to {unpacked} bytes", payload.len());
    println!("decompressor alone: {alone:>9.2?} {:7.0} MB/s", rate(alone));
    println!(
        "decompress + place: {placed:>9.2?} {:7.0} MB/s",
        rate(placed)
    );
    println!(
        "ratio of the times: {:.3}",
        placed.as_secs_f64() / alone.as_secs_f64()
    );
    Ok(())
}

/// The decompressor crate by itself, into one buffer that is used again; the answer is how many
/// bytes came out.
fn decompress(compression: Compression, packed: &[u8]) -> Result<u64, Failure> {
    let mut buffer = vec![0; 128 << 10];
    let trimmed = packed.get(..packed.len() - 4).ok_or("an empty payload")?;
    let mut reader: Box<dyn Read> = match compression {
        Compression::None => Box::new(packed),
        Compression::Gzip => Box::new(flate2::bufread::GzDecoder::new(packed)),
        Compression::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(trimmed)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(trimmed)?),
        Compression::Xz | Compression::Lzma => {
            let stream = liblzma::stream::Stream::new_auto_decoder(u64::MAX, 0)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(trimmed, stream))
        }
        Compression::Lz4 => return lz4(trimmed),
        other => return Err(format!("no decoder of {other:?} here").into()),
    };
    let mut total = 0;
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(total),
            count => total += count as u64,
        }
    }
}

fn lz4(frame: &[u8]) -> Result<u64, Failure> {
    let mut output = vec![0; 8 << 20];
    let mut rest = frame.get(4..).unwrap_or_default();
    let mut total = 0;
    while let Some((size, after)) = rest.split_first_chunk::<4>() {
        let size = u32::from_le_bytes(*size) as usize;
        let (block, next) = after.split_at_checked(size).ok_or("a block is cut short")?;
        total += lz4_flex::block::decompress_into(block, &mut output)? as u64;
        rest = next;
    }
    Ok(total)
}

/// The payload, by the header's own fields.
fn payload(image: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| {
        let bytes = image.get(at..)?.first_chunk()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    };
    let sectors = image
        .get(0x1f1)
        .map(|count| usize::from(*count).max(1) + 1)?;
    let start = sectors * 512 + word(0x248)?;
    image.get(start..)?.get(..word(0x24c)?)
}

/// An ELF of 48 MiB that packs about as well as a kernel's code does.
fn vmlinux() -> Vec<u8> {
    const TEXT: u64 = 0x100_0000;
    const SIZE: u64 = 48 << 20;
    let mut state = 1_u64;
    let mut body = Vec::new();
    while (body.len() as u64) < SIZE {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let (fresh, repeat) = ((state >> 60) as usize, (state >> 50) as usize % 24);
        body.extend_from_slice(state.to_le_bytes().get(..fresh % 8).unwrap_or_default());
        let back = body
            .len()
            .saturating_sub((state >> 33) as usize % 4096 + 24);
        body.extend_from_within(back..(back + repeat).min(body.len()));
    }
    body.truncate(SIZE as usize);
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    elf.extend([TEXT, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
    elf.extend(
        [0, 0, 64, 56, 1, 0, 0, 0_u16]
            .iter()
            .flat_map(|word| word.to_le_bytes()),
    );
    elf.extend([1_u32, 7].iter().flat_map(|word| word.to_le_bytes()));
    elf.extend(
        [0x1000, TEXT, TEXT, SIZE, SIZE, 0x1000]
            .iter()
            .flat_map(|w| w.to_le_bytes()),
    );
    elf.resize(0x1000, 0);
    elf.extend(body);
    elf
}

/// A bzImage of protocol 2.15 around `kernel`, packed with lz4.
fn bzimage(kernel: &[u8]) -> Vec<u8> {
    let mut payload = 0x184c_2102_u32.to_le_bytes().to_vec();
    for block in kernel.chunks(8 << 20) {
        let block = lz4_flex::block::compress(block);
        payload.extend((block.len() as u32).to_le_bytes());
        payload.extend(block);
    }
    payload.extend((kernel.len() as u32).to_le_bytes());
    let mut image = vec![0; 1024];
    let paragraphs = payload.len().div_ceil(16) as u32;
    let fields: [(usize, &[u8]); 12] = [
        (0x1f1, &[1]),
        (0x1f4, &paragraphs.to_le_bytes()),
        (0x1fe, &[0x55, 0xaa, 0xeb, 0x6a]),
        (0x202, b"HdrS\x0f\x02"),
        (0x211, &[1]),
        (0x22c, &0x7fff_ffff_u32.to_le_bytes()),
        (0x230, &0x20_0000_u32.to_le_bytes()),
        (0x234, &[1, 21, 1, 0]),
        (0x238, &2047_u32.to_le_bytes()),
        (0x24c, &(payload.len() as u32).to_le_bytes()),
        (0x258, &0x100_0000_u64.to_le_bytes()),
        (0x260, &(64_u32 << 20).to_le_bytes()),
    ];
    for (at, bytes) in fields {
        if let Some(target) = image.get_mut(at..at + bytes.len()) {
            target.copy_from_slice(bytes);
        }
    }
    image.extend(payload);
    image.resize(image.len().next_multiple_of(16), 0);
    image
}

fn file_of(bytes: &[u8]) -> Result<File, Failure> {
    let path = std::env::temp_dir().join(format!("vmmkit-loader-{}", std::process::id()));
    let mut options = File::options();
    let mut file = options
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    std::fs::remove_file(&path)?;
    file.write_all(bytes)?;
    Ok(file)
}
