//! Images built in memory, for this crate's tests.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicU32, Ordering};

use vmmkit_guest_memory::{GuestRam, RamConfig, RamSize};

use crate::payload::Compression;

/// Where the test kernel's text lies and starts.
pub(crate) const TEXT: u64 = 0x100_0000;
/// Where its PVH entry is.
pub(crate) const PVH: u64 = TEXT + 0x40;
/// Where its data lies, and how large it is in file and memory.
pub(crate) const DATA: u64 = 0x110_0000;
pub(crate) const DATA_FILE: u64 = 0x3000;
pub(crate) const DATA_MEMORY: u64 = 0x9000;

/// Every compression but none.
pub(crate) const COMPRESSIONS: [Compression; 6] = [
    Compression::Gzip,
    Compression::Xz,
    Compression::Zstd,
    Compression::Lz4,
    Compression::Bzip2,
    Compression::Lzma,
];

/// `mebibytes` MiB of RAM.
pub(crate) fn ram(mebibytes: u32) -> GuestRam {
    let size = RamSize::mebibytes(mebibytes);
    GuestRam::new(&RamConfig {
        size,
        ..RamConfig::default()
    })
    .unwrap()
}

/// A file without a name that holds `bytes`.
pub(crate) fn file_of(bytes: &[u8]) -> File {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    // Ordering: only that each number is given out once counts.
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("boot-loader-{}-{count}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    file.write_all(bytes).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    file
}

/// Bytes that do not compress.
pub(crate) fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// `bytes`, compressed.
pub(crate) fn compress(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    use liblzma::stream::{Check, Filters, LzmaOptions, Stream};
    let mut packed = Vec::new();
    match compression {
        Compression::None => packed.extend(bytes),
        Compression::Gzip => {
            let level = flate2::Compression::default();
            flate2::read::GzEncoder::new(bytes, level)
                .read_to_end(&mut packed)
                .unwrap();
        }
        Compression::Xz => {
            let options = LzmaOptions::new_preset(6).unwrap();
            let mut filters = Filters::new();
            filters.x86().lzma2(&options);
            let stream = Stream::new_stream_encoder(&filters, Check::Crc32).unwrap();
            liblzma::read::XzEncoder::new_stream(bytes, stream)
                .read_to_end(&mut packed)
                .unwrap();
        }
        Compression::Lzma => {
            let stream = Stream::new_lzma_encoder(&LzmaOptions::new_preset(6).unwrap()).unwrap();
            liblzma::read::XzEncoder::new_stream(bytes, stream)
                .read_to_end(&mut packed)
                .unwrap();
        }
        Compression::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(&mut packed, 3).unwrap();
            encoder.include_checksum(true).unwrap(); // as the zstd command does
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap();
        }
        Compression::Bzip2 => {
            let level = bzip2::Compression::default();
            bzip2::read::BzEncoder::new(bytes, level)
                .read_to_end(&mut packed)
                .unwrap();
        }
        Compression::Lz4 => {
            packed.extend(0x184c_2102_u32.to_le_bytes());
            for block in bytes.chunks(8 << 20) {
                let block = lz4_flex::block::compress(block);
                packed.extend((block.len() as u32).to_le_bytes());
                packed.extend(block);
            }
        }
    }
    packed
}

/// Puts `value` at `offset`.
pub(crate) fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes[offset..offset + value.len()].copy_from_slice(value);
}

/// Offsets in the test kernel: the program headers.
pub(crate) fn phdr(index: usize) -> usize {
    64 + 56 * index
}

/// A small vmlinux: text at 16 MiB with the PVH note and one of Linux's inside, data with a bss.
pub(crate) fn vmlinux() -> Vec<u8> {
    let mut elf = vec![0; 0x8000];
    put(&mut elf, 0, b"\x7fELF\x02\x01\x01");
    put(&mut elf, 16, &2_u16.to_le_bytes());
    put(&mut elf, 18, &62_u16.to_le_bytes());
    put(&mut elf, 20, &1_u32.to_le_bytes());
    put(&mut elf, 24, &TEXT.to_le_bytes());
    put(&mut elf, 32, &64_u64.to_le_bytes());
    put(&mut elf, 52, &64_u16.to_le_bytes());
    put(&mut elf, 54, &56_u16.to_le_bytes());
    put(&mut elf, 56, &3_u16.to_le_bytes());
    program_header(&mut elf, 0, 1, [0x1000, TEXT, 0x2000, 0x2000]);
    program_header(&mut elf, 1, 1, [0x4000, DATA, DATA_FILE, DATA_MEMORY]);
    program_header(&mut elf, 2, 4, [0x2800, 0, 48, 48]);
    put(&mut elf, 0x1000, &noise(0x1000));
    put(&mut elf, 0x4000, &noise(DATA_FILE as usize));
    put(&mut elf, 0x2800, &4_u32.to_le_bytes());
    put(&mut elf, 0x2804, &8_u32.to_le_bytes());
    put(&mut elf, 0x2808, &18_u32.to_le_bytes());
    put(&mut elf, 0x280c, b"Xen\0");
    put(&mut elf, 0x2810, &PVH.to_le_bytes());
    put(&mut elf, 0x2818, &6_u32.to_le_bytes());
    put(&mut elf, 0x281c, &1_u32.to_le_bytes());
    put(&mut elf, 0x2820, &0x100_u32.to_le_bytes());
    put(&mut elf, 0x2824, b"Linux\0");
    elf
}

/// The same without the note of Linux's.
pub(crate) fn other_elf() -> Vec<u8> {
    let mut elf = vmlinux();
    put(&mut elf, 0x2824, b"Other");
    elf
}

/// A small 32-bit ELF at 2 MiB, entered at its first byte, with `note` in a note segment.
pub(crate) fn elf_32(code: &[u8], note: &[u8]) -> Vec<u8> {
    let mut elf = vec![0; 0x1000];
    put(&mut elf, 0, b"\x7fELF\x01\x01\x01");
    put(&mut elf, 16, &2_u16.to_le_bytes());
    put(&mut elf, 18, &3_u16.to_le_bytes());
    let words = [1, LOW_TEXT, 52, 0, 0, 52 | 32 << 16, 2];
    for (index, word) in words.into_iter().enumerate() {
        put(&mut elf, 20 + 4 * index, &word.to_le_bytes());
    }
    let size = code.len() as u32;
    let load = [1, 0x200, LOW_TEXT, LOW_TEXT, size, size + 0x1000, 7, 4096];
    let note_at = [4, 0x100, 0, 0, note.len() as u32, note.len() as u32, 4, 4];
    for (index, word) in load.into_iter().chain(note_at).enumerate() {
        put(&mut elf, 52 + 4 * index, &word.to_le_bytes());
    }
    put(&mut elf, 0x100, note);
    elf.truncate(0x200);
    elf.extend(code);
    elf
}

/// Where `elf_32` lies.
pub(crate) const LOW_TEXT: u32 = 0x20_0000;

/// An ELF note of 4 bytes.
pub(crate) fn note(owner: &[u8], kind: u32, value: u32) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [owner.len() as u32, 4, kind] {
        note.extend(word.to_le_bytes());
    }
    note.extend(owner);
    note.resize(note.len().next_multiple_of(4), 0);
    note.extend(value.to_le_bytes());
    note
}

/// A flat Multiboot 1 kernel at 1 MiB with 8 KiB in memory: its header, then `code`.
pub(crate) fn multiboot_1(code: &[u8]) -> Vec<u8> {
    let (flags, size) = (0x1_0003_u32, 32 + code.len() as u32);
    let sum = 0x1bad_b002_u32.wrapping_add(flags).wrapping_neg();
    let start = 0x10_0000;
    let words = [
        0x1bad_b002,
        flags,
        sum,
        start,
        start,
        start + size,
        start + 0x2000,
        start + 32,
    ];
    let mut image: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    image.extend(code);
    image
}

/// The same of Multiboot 2; it asks for a memory map, and can do without a tag 200.
pub(crate) fn multiboot_2(code: &[u8]) -> Vec<u8> {
    let (start, length) = (0x10_0000, 16 + 16 + 24 + 16 + 8 + 8);
    let size = length + code.len() as u32;
    let sum = 0xe852_50d6_u32.wrapping_add(length).wrapping_neg();
    let mut words = vec![0xe852_50d6, 0, length, sum];
    words.extend([1, 12, 6, 0]); // a request, padded
    words.extend([2, 24, start, start, start + size, start + 0x2000]);
    words.extend([3, 12, start + length, 0]);
    words.extend([200 | 1 << 16, 8]);
    words.extend([0, 8]);
    let mut image: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    image.extend(code);
    image
}

/// A PE for x86-64 with these sections, none with a size in memory of its own.
pub(crate) fn uki(sections: &[(&[u8; 8], &[u8])]) -> Vec<u8> {
    let mut image = vec![0; 0x40 + 24 + 40 * sections.len()];
    put(&mut image, 0, b"MZ");
    put(&mut image, 0x3c, &0x40_u32.to_le_bytes());
    put(&mut image, 0x40, b"PE\0\0\x64\x86");
    put(&mut image, 0x46, &(sections.len() as u16).to_le_bytes());
    for (index, (name, bytes)) in sections.iter().enumerate() {
        let (at, offset) = (0x40 + 24 + 40 * index, image.len() as u32);
        put(&mut image, at, *name);
        put(&mut image, at + 16, &(bytes.len() as u32).to_le_bytes());
        put(&mut image, at + 20, &offset.to_le_bytes());
        image.extend(*bytes);
    }
    image
}

fn program_header(elf: &mut [u8], index: usize, kind: u32, fields: [u64; 4]) {
    let [offset, address, file_size, memory_size] = fields;
    let at = phdr(index);
    put(elf, at, &kind.to_le_bytes());
    put(elf, at + 8, &offset.to_le_bytes());
    put(elf, at + 24, &address.to_le_bytes());
    put(elf, at + 32, &file_size.to_le_bytes());
    put(elf, at + 40, &memory_size.to_le_bytes());
    put(elf, at + 48, &4096_u64.to_le_bytes());
}

/// Where the test bzImage's protected-mode code starts.
pub(crate) const CODE: usize = 5 * 512;
/// Where its payload lies in that code.
pub(crate) const PAYLOAD: usize = 0x400;

/// A small bzImage of protocol 2.15 around `kernel`.
pub(crate) fn bzimage(compression: Compression, kernel: &[u8]) -> Vec<u8> {
    let mut payload = compress(compression, kernel);
    if !matches!(compression, Compression::Gzip | Compression::None) {
        payload.extend((kernel.len() as u32).to_le_bytes());
    }
    let code_size = (PAYLOAD + payload.len()).next_multiple_of(16);
    let mut image = vec![0; CODE + code_size];
    put(&mut image, 0x1f1, &[4]);
    put(&mut image, 0x1f4, &((code_size / 16) as u32).to_le_bytes());
    put(&mut image, 0x1fe, &0xaa55_u16.to_le_bytes());
    put(&mut image, 0x200, &[0xeb, 0x6a]);
    put(&mut image, 0x202, b"HdrS");
    put(&mut image, 0x206, &0x20f_u16.to_le_bytes());
    put(&mut image, 0x20e, &0x300_u16.to_le_bytes());
    put(&mut image, 0x211, &[1]);
    put(&mut image, 0x22c, &0x7fff_ffff_u32.to_le_bytes());
    put(&mut image, 0x230, &0x20_0000_u32.to_le_bytes());
    put(&mut image, 0x234, &[1, 21]);
    put(&mut image, 0x236, &1_u16.to_le_bytes());
    put(&mut image, 0x238, &2047_u32.to_le_bytes());
    put(&mut image, 0x248, &(PAYLOAD as u32).to_le_bytes());
    put(&mut image, 0x24c, &(payload.len() as u32).to_le_bytes());
    put(&mut image, 0x258, &TEXT.to_le_bytes());
    put(&mut image, 0x260, &0x20_0000_u32.to_le_bytes());
    put(
        &mut image,
        0x500,
        b"6.1.0-test (someone@somewhere) #1 SMP\0",
    );
    put(&mut image, CODE + PAYLOAD, &payload);
    image
}

/// Writes small images where the fuzzers start from: `cargo test -p vmmkit-boot-loader seeds --
/// --ignored`.
#[test]
#[ignore = "writes fuzz/corpus"]
fn fuzz_seeds_are_written() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        std::fs::create_dir_all(corpus.join(target)).unwrap();
        std::fs::write(corpus.join(target).join(name), bytes).unwrap();
    };
    write("elf", "vmlinux", &vmlinux());
    write("elf", "other", &other_elf());
    let pvh = note(b"Xen\0", 18, LOW_TEXT);
    write("elf", "32_bit", &elf_32(&[0x90; 16], &pvh));
    write("multiboot", "one", &multiboot_1(&[0x90; 16]));
    write("multiboot", "two", &multiboot_2(&[0x90; 16]));
    let elf = elf_32(&multiboot_2(&[0x90]), &note(b"GNU\0", 3, 0));
    write("multiboot", "elf", &elf);
    let kernel = bzimage(Compression::Gzip, &vmlinux());
    let sections: [(&[u8; 8], &[u8]); 3] = [
        (b".linux\0\0", &kernel),
        (b".initrd\0", b"070701"),
        (b".cmdline", b"quiet"),
    ];
    write("uki", "uki", &uki(&sections));
    let mut old = bzimage(Compression::Gzip, &vmlinux());
    put(&mut old, 0x206, &0x203_u16.to_le_bytes());
    put(&mut old, 0x214, &0x10_0000_u32.to_le_bytes());
    write("bzimage", "protocol_2_03", &old);
    for (index, compression) in COMPRESSIONS.into_iter().enumerate() {
        let name = compression.to_string();
        write("bzimage", &name, &bzimage(compression, &vmlinux()));
        let mut payload = vec![index as u8];
        payload.extend(compress(
            compression,
            b"a kernel of sorts ".repeat(64).as_slice(),
        ));
        write("payload", &name, &payload);
    }
}
