//! Every way to enter a guest, and RAM round the MMIO hole, by guests of a few instructions.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::{Folder, elf, has_kvm, pvh_elf};

fn run(arguments: &[&str], image: (&str, &Path)) -> Output {
    Command::new(support::vmmkit())
        .args(["run", "--quiet", image.0])
        .arg(image.1)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn assert_printed(output: &Output, text: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), text, "{stderr}");
    assert_eq!(output.status.code(), Some(0), "{stderr}");
}

/// Code with jumps forward to its end.
#[derive(Default)]
struct Code {
    bytes: Vec<u8>,
    jumps: Vec<usize>,
}

impl Code {
    fn put(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// An instruction that is ended by this many bytes of `value`.
    fn put_with<const N: usize>(self, bytes: &[u8], value: [u8; N]) -> Self {
        self.put(bytes).put(&value)
    }

    /// jne to the failure.
    fn or_fail(mut self) -> Self {
        self = self.put(&[0x0f, 0x85, 0, 0, 0, 0]);
        self.jumps.push(self.bytes.len());
        self
    }

    /// Prints `good`, or `F` after a failure, on COM1, whose port is in DX; then resets.
    fn end(self, good: u8) -> Vec<u8> {
        // out dx, al; mov al, 0xfe; out 0x64, al; hlt; jmp to the hlt
        const RESET: [u8; 8] = [0xee, 0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd];
        let mut all = self.put(&[0xb0, good]).put(&RESET);
        let failure = all.bytes.len();
        for after in &all.jumps {
            let distance = (failure - after) as u32;
            all.bytes[after - 4..*after].copy_from_slice(&distance.to_le_bytes());
        }
        all.put(&[0xb0, b'F']).put(&RESET).bytes
    }
}

#[test]
fn firmware_runs_from_the_reset_vector_and_may_change_its_copy_below_1_mib() {
    if !has_kvm("firmware") {
        return;
    }
    let folder = Folder::new("firmware");
    let code = [
        0xb8, 0x00, 0xf0, 0x8e, 0xd8, // mov ax, 0xf000; mov ds, ax
        0xba, 0x02, 0x04, 0xec, // mov dx, 0x402; in al, dx
        0x3c, 0xe9, 0x75, 0x0a, // cmp al, 0xe9; jne over the debug port
        0xb0, b'd', 0xee, 0xb0, b'b', 0xee, 0xb0, b'g', 0xee, 0x90, // "dbg"
        0xc6, 0x06, 0x00, 0x10, b'M', // mov byte [0x1000], 'M'
        0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xb0, b'R', 0xee, 0xb0, b'O', 0xee, // "RO"
        0xa0, 0x00, 0x10, 0xee, // mov al, [0x1000]; out dx, al
        0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd, // reset
    ];
    let mut image = vec![0xff; 64 << 10];
    image[0xe000..0xe000 + code.len()].copy_from_slice(&code);
    image[0xfff0..0xfff5].copy_from_slice(&[0xea, 0x00, 0xe0, 0x00, 0xf0]); // jmp f000:e000
    let image = folder.file("rom", image);
    let debug = folder.path().join("debug");
    let to_file = format!("file={}", debug.display());

    let arguments = ["--memory", "16M", "--debug-port", &to_file];
    assert_printed(&run(&arguments, ("--firmware", &image)), "ROM");
    assert_eq!(std::fs::read(&debug).unwrap(), b"dbg");
    let arguments = ["--memory", "16M", "--legacy-timer", "off"];
    assert_printed(&run(&arguments, ("--firmware", &image)), "ROM");
}

#[test]
fn a_32_bit_guest_finds_all_that_pvh_promises() {
    if !has_kvm("PVH") {
        return;
    }
    let folder = Folder::new("pvh");
    let module = folder.file("module", "MODULE");
    let code = Code::default()
        .put(&[0x66, 0xba, 0xf8, 0x03]) // mov dx, 0x3f8
        .put(&[0x81, 0x3b, 0x78, 0xc5, 0x6e, 0x33]) // cmp dword [ebx], magic
        .or_fail()
        .put(&[0x83, 0x7b, 0x04, 0x01]) // cmp dword [ebx + 4], 1: the version with a memory map
        .or_fail()
        .put(&[0x0f, 0x20, 0xc0]) // mov eax, cr0
        .put(&[0x25, 0x01, 0x00, 0x00, 0x80]) // and eax, PG | PE
        .put(&[0x83, 0xf8, 0x01]) // cmp eax, PE
        .or_fail()
        .put(&[0x8b, 0x43, 0x20, 0x81, 0x38]) // mov eax, [ebx + 32]; cmp dword [eax], ...
        .put(b"RSD ")
        .or_fail()
        .put(&[0x8b, 0x73, 0x18]) // mov esi, [ebx + 24]: the command line
        .put(&[0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8]) // print to the NUL
        .put(&[0x83, 0x7b, 0x0c, 0x01]) // cmp dword [ebx + 12], 1: modules
        .or_fail()
        .put(&[0x8b, 0x73, 0x10, 0x8b, 0x36]) // mov esi, [ebx + 16]; mov esi, [esi]: the first one
        .put(&[0xb9, 0x06, 0x00, 0x00, 0x00]) // mov ecx, 6
        .put(&[0xac, 0xee, 0xe2, 0xfc]) // print six bytes of it
        .put(&[0x8b, 0x73, 0x28, 0x8b, 0x4b, 0x30, 0x31, 0xff]) // the map, its entries, no byte yet
        .put(&[0x83, 0x7e, 0x10, 0x01, 0x75, 0x03]) // cmp dword [esi + 16], 1: RAM
        .put(&[0x03, 0x7e, 0x08]) // add edi, [esi + 8]: its size
        .put(&[0x83, 0xc6, 0x18, 0xe2, 0xf2]) // add esi, 24; loop
        .put(&[0xc1, 0xef, 0x14, 0x89, 0xf8, 0x04, 0x30, 0xee]) // print its mebibytes
        .end(b'.');
    let kernel = folder.file("kernel", pvh_elf(&code));
    let initrd = module.display().to_string();

    let arguments = ["--memory", "8M", "--cmdline", "words ", "--initrd", &initrd];
    for choice in [&[][..], &["--entry", "pvh"]] {
        let arguments = [&arguments[..], choice].concat();
        let output = run(&arguments, ("--kernel", &kernel));
        let text = String::from_utf8_lossy(&output.stdout);
        // A software KVM adds words of its own.
        let is_whole = text.starts_with("words ") && text.ends_with("MODULE7.");
        assert!(is_whole, "{output:?}");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}

#[test]
fn an_elf_that_is_not_linux_is_entered_by_pvh_though_it_has_another_entry() {
    if !has_kvm("PVH or Linux") {
        return;
    }
    let folder = Folder::new("pvh-or-linux");
    // Entered at its second byte it prints P; at its first, in 64-bit mode, L.
    let code = Code::default()
        .put(&[0xb0, b'L', 0xeb, 0x02]) // mov al, 'L'; jmp over the next
        .put(&[0xb0, b'P']) // mov al, 'P'
        .put(&[0x66, 0xba, 0xf8, 0x03, 0xee]) // mov dx, 0x3f8; out dx, al
        .end(b'.');
    let mut both = pvh_elf(&code);
    both[24..32].copy_from_slice(&0x10_0000_u64.to_le_bytes()); // e_entry
    let entry = both.windows(4).position(|bytes| bytes == b"Xen\0").unwrap() + 4;
    both[entry..entry + 4].copy_from_slice(&0x10_0004_u32.to_le_bytes());
    let kernel = folder.file("kernel", both);
    assert_printed(&run(&["--memory", "8M"], ("--kernel", &kernel)), "P.");
    let arguments = ["--memory", "8M", "--entry", "payload"];
    assert_printed(&run(&arguments, ("--kernel", &kernel)), "L.");
}

/// A flat kernel at 1 MiB with a header of Multiboot 1, or of 2.
fn multiboot(version: u32, code: &[u8]) -> Vec<u8> {
    const START: u32 = 0x10_0000;
    let sum = |words: &[u32]| {
        words
            .iter()
            .fold(0, |sum: u32, word| sum.wrapping_sub(*word))
    };
    let mut words = match version {
        1 => vec![
            0x1bad_b002,
            0x1_0003,
            sum(&[0x1bad_b002, 0x1_0003]),
            START,
            START,
            0,
            0,
        ],
        _ => vec![
            0xe852_50d6,
            0,
            64,
            sum(&[0xe852_50d6, 64]),
            2,
            24,
            START,
            START,
            0,
            0,
            3,
            12,
        ],
    };
    let size = (words.len() as u32 + if version == 1 { 1 } else { 4 }) * 4;
    words.push(START + size);
    if version != 1 {
        words.extend([0, 0, 8]); // padding, the end tag
    }
    let mut image = words
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .collect::<Vec<_>>();
    assert_eq!(image.len(), size as usize);
    image.extend(code);
    image
}

#[test]
fn a_guest_finds_all_that_multiboot_promises() {
    if !has_kvm("Multiboot") {
        return;
    }
    let folder = Folder::new("multiboot");
    let module = folder.file("module", "MODULE");
    let module = format!("{} a=b", module.display());
    let arguments = ["--memory", "8M", "--cmdline", "words", "--module", &module];
    const PRINT: [u8; 8] = [0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8]; // [esi] to its NUL
    let one = Code::default()
        .put(&[0x66, 0xba, 0xf8, 0x03]) // mov dx, 0x3f8
        .put(&[0x3d, 0x02, 0xb0, 0xad, 0x2b]) // cmp eax, the magic
        .or_fail()
        .put(&[0x8b, 0x73, 0x10]) // mov esi, [ebx + 16]: the command line
        .put(&PRINT)
        .put(&[0x83, 0x7b, 0x14, 0x01]) // cmp dword [ebx + 20], 1: modules
        .or_fail()
        .put(&[0x8b, 0x7b, 0x18, 0x8b, 0x37]) // mov edi, [ebx + 24]; mov esi, [edi]: its start
        .put(&[0xb9, 0x06, 0x00, 0x00, 0x00]) // mov ecx, 6
        .put(&[0xac, 0xee, 0xe2, 0xfc]) // print six bytes of it
        .put(&[0x3b, 0x77, 0x04]) // cmp esi, [edi + 4]: its end
        .or_fail()
        .put(&[0x8b, 0x77, 0x08]) // mov esi, [edi + 8]: its string
        .put(&PRINT)
        .put(&[0x81, 0x7b, 0x08, 0x00, 0x1c, 0x00, 0x00]) // cmp dword [ebx + 8], 7 MiB in KiB
        .or_fail()
        .end(b'.');
    let two = Code::default()
        .put(&[0x66, 0xba, 0xf8, 0x03]) // mov dx, 0x3f8
        .put(&[0x3d, 0x89, 0x62, 0xd7, 0x36]) // cmp eax, the magic
        .or_fail()
        .put(&[0x83, 0x7b, 0x08, 0x01]) // cmp dword [ebx + 8], 1: the first tag is the command line
        .or_fail()
        .put(&[0x8d, 0x73, 0x10]) // lea esi, [ebx + 16]
        .put(&PRINT)
        .put(&[0x83, 0xc3, 0x08]) // add ebx, 8: the first tag
        // The next tag, until there is the module's.
        .put(&[0x8b, 0x4b, 0x04, 0x83, 0xc1, 0x07]) // mov ecx, [ebx + 4]; add ecx, 7
        .put(&[0x83, 0xe1, 0xf8, 0x01, 0xcb]) // and ecx, ~7; add ebx, ecx
        .put(&[0x83, 0x3b, 0x03, 0x75, 0xf0]) // cmp dword [ebx], 3; jne back
        .put(&[0x8b, 0x73, 0x08]) // mov esi, [ebx + 8]: its start
        .put(&[0xb9, 0x06, 0x00, 0x00, 0x00]) // mov ecx, 6
        .put(&[0xac, 0xee, 0xe2, 0xfc]) // print six bytes of it
        .put(&[0x8d, 0x73, 0x10]) // lea esi, [ebx + 16]: its string
        .put(&PRINT)
        .end(b'.');
    for (version, code) in [(1, one), (2, two)] {
        let kernel = folder.file("kernel", multiboot(version, &code));
        let output = run(&arguments, ("--kernel", &kernel));
        let text = String::from_utf8_lossy(&output.stdout);
        // A software KVM adds words of its own.
        let is_whole = text.starts_with("kernel words") && text.ends_with("MODULEmodule a=b.");
        assert!(is_whole, "Multiboot {version}: {output:?}");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}

#[test]
fn a_device_is_announced_to_the_kernel_whatever_its_command_line_leaves_to_init() {
    if !has_kvm("announced devices") {
        return;
    }
    let folder = Folder::new("announced");
    let code = Code::default()
        .put(&[0x66, 0xba, 0xf8, 0x03]) // mov dx, 0x3f8
        .put(&[0x8b, 0xb6, 0x28, 0x02, 0x00, 0x00]) // mov esi, [rsi + 0x228]: the command line
        .put(&[0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8]) // print to the NUL
        .end(b'.');
    let kernel = folder.file("kernel", elf(&code));
    for (cmdline, before, after) in [
        ("quiet -- x", "quiet ", " -- x"),
        ("quiet --", "quiet ", " --"),
        ("quiet\t--\tx", "quiet\t", " --\tx"),
        ("-- x", "", " -- x"),
        ("a=\"b -- c\" d", "a=\"b -- c\" d ", ""),
        ("quiet a=\"b -- c", "", " quiet a=\"b -- c"),
    ] {
        let arguments = ["--memory", "8M", "--no-acpi", "--rng", "--cmdline", cmdline];
        let output = run(&arguments, ("--kernel", &kernel));
        let text = String::from_utf8_lossy(&output.stdout);
        let text = text.trim_end_matches('.');
        // A software KVM adds words of its own.
        let added = text
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after));
        let is_added = added.is_some_and(|words| {
            let device = |word: &str| word.starts_with("virtio_mmio.device=");
            words.split(' ').any(device) && !words.contains("--")
        });
        assert!(is_added, "{cmdline:?}: {output:?}");
    }
}

#[test]
fn a_bzimage_without_a_64_bit_entry_is_entered_in_32_bit_mode() {
    if !has_kvm("the 32-bit boot protocol") {
        return;
    }
    let folder = Folder::new("setup32");
    let code = Code::default()
        .put(&[0x66, 0xba, 0xf8, 0x03]) // mov dx, 0x3f8
        .put(&[0x81, 0xbe, 0x02, 0x02, 0x00, 0x00]) // cmp dword [esi + 0x202], ...
        .put(b"HdrS")
        .or_fail()
        .put(&[0x0f, 0x20, 0xc0, 0xa9, 0x00, 0x00, 0x00, 0x80]) // mov eax, cr0; test eax, PG
        .or_fail()
        .put(&[0x8b, 0xb6, 0x28, 0x02, 0x00, 0x00]) // mov esi, [esi + 0x228]: the command line
        .put(&[0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8]) // print to the NUL
        .end(b'.');
    let mut image = vec![0; 5 * 512];
    for (offset, bytes) in [
        (0x1f1, &[4][..]),
        (0x1fe, &[0x55, 0xaa]),
        (0x200, &[0xeb, 0x6a]),
        (0x202, b"HdrS"),
        (0x206, &0x203_u16.to_le_bytes()),
        (0x211, &[1]),
        (0x214, &0x10_0000_u32.to_le_bytes()),
        (0x22c, &0x37ff_ffff_u32.to_le_bytes()),
    ] {
        image[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
    image.extend(&code);
    let kernel = folder.file("kernel", image);
    let output = run(
        &["--memory", "8M", "--cmdline", "words"],
        ("--kernel", &kernel),
    );
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.starts_with("words") && text.ends_with('.'),
        "{output:?}"
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// Where the guest puts page directories of its own, and the loader's page directory pointers.
const DIRECTORIES: u64 = 2 << 20;
const POINTERS: u64 = 0xa000;
const LARGE_PAGE: u64 = 2 << 20;
/// How far apart the places are that are tried.
const STEP: u64 = 32 << 20;
const HOLE: u64 = 3 << 30;
const HIGH: u64 = 4 << 30;

/// Writes its own address to places all over RAM and to each end, reads all back, and finds nothing
/// in the hole and behind the end.
fn memory_test(size: u64) -> Vec<u8> {
    let end = HIGH + size - HOLE;
    let mut code = Code::default()
        .put(&[0x66, 0xba, 0xf8, 0x03]) // mov dx, 0x3f8
        .put_with(&[0x48, 0xbf], DIRECTORIES.to_le_bytes()) // mov rdi, ...
        .put_with(&[0x48, 0xb8], (HIGH | 0x83).to_le_bytes()) // mov rax, large, writable, present
        .put_with(&[0xb9], (4 * 512_u32).to_le_bytes()) // mov ecx, entries
        .put(&[0x48, 0x89, 0x07, 0x48, 0x83, 0xc7, 0x08]) // mov [rdi], rax; add rdi, 8
        .put_with(&[0x48, 0x05], (LARGE_PAGE as u32).to_le_bytes()) // add rax, ...
        .put(&[0xff, 0xc9, 0x75, 0xef]); // dec ecx; jnz
    for index in 0..4 {
        code = code
            .put_with(&[0x48, 0xbf], (POINTERS + 8 * (4 + index)).to_le_bytes())
            .put_with(
                &[0x48, 0xb8],
                ((DIRECTORIES + (index << 12)) | 3).to_le_bytes(),
            )
            .put(&[0x48, 0x89, 0x07]); // mov [rdi], rax
    }
    code = code.put(&[0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8]); // mov rax, cr3; mov cr3, rax
    let ranges = [(STEP, HOLE), (HIGH, end)];
    // mov [rdi], rdi; cmp [rdi], rdi
    for (access, is_check) in [([0x48, 0x89, 0x3f], false), ([0x48, 0x39, 0x3f], true)] {
        let fails = |code: Code| if is_check { code.or_fail() } else { code };
        for (start, end) in ranges {
            code = code
                .put_with(&[0x48, 0xbf], start.to_le_bytes())
                .put_with(&[0x48, 0xb9], end.to_le_bytes()); // mov rcx, ...
            let top = code.bytes.len();
            code = fails(code.put(&access))
                .put_with(&[0x48, 0x81, 0xc7], (STEP as u32).to_le_bytes()) // add rdi, ...
                .put(&[0x48, 0x39, 0xcf]); // cmp rdi, rcx
            let back = (top as i32) - (code.bytes.len() as i32 + 2);
            code = code.put(&[0x72, back as i8 as u8]); // jb
            code = code.put_with(&[0x48, 0xbf], (end - 8).to_le_bytes());
            code = fails(code.put(&access));
        }
    }
    for nothing in [HOLE, HIGH - (64 << 20), end] {
        code = code
            .put_with(&[0x48, 0xbf], nothing.to_le_bytes())
            .put(&[0x48, 0x8b, 0x07, 0x48, 0x83, 0xf8, 0xff]) // mov rax, [rdi]; cmp rax, -1
            .or_fail();
    }
    code.end(b'K')
}

#[test]
fn ram_of_3_5_and_6_gib_lies_on_both_sides_of_the_hole() {
    if !has_kvm("RAM round the hole") {
        return;
    }
    let folder = Folder::new("hole");
    for mebibytes in [3584, 6144] {
        let kernel = folder.file("kernel", elf(&memory_test(mebibytes << 20)));
        // A sparse file, as a host need not have so much.
        let file = folder.path().join(format!("ram-{mebibytes}"));
        let memory = format!("{mebibytes}M,backend=file={}", file.display());
        assert_printed(&run(&["--memory", &memory], ("--kernel", &kernel)), "K");
    }
}

#[test]
fn every_back_end_gives_a_guest_its_ram() {
    if !has_kvm("back ends") {
        return;
    }
    let folder = Folder::new("back-ends");
    let code = Code::default()
        .put(&[0x66, 0xba, 0xf8, 0x03]) // mov dx, 0x3f8
        .put(&[0xb8, 0x00, 0x00, 0x80, 0x00]) // mov eax, 8 MiB
        .put(&[0x48, 0x89, 0x00, 0x48, 0x39, 0x00]) // mov [rax], rax; cmp [rax], rax
        .or_fail()
        .end(b'K');
    let kernel = folder.file("kernel", elf(&code));
    let file = format!("backend=file={}", folder.path().join("ram").display());
    for options in [
        "backend=anon",
        "backend=memfd",
        &file,
        "prefault",
        "thp=on",
        "thp=off,prefault",
        "dump=on",
    ] {
        let memory = format!("16M,{options}");
        assert_printed(&run(&["--memory", &memory], ("--kernel", &kernel)), "K");
    }
    // What the guest wrote is in the file.
    let bytes = std::fs::read(folder.path().join("ram")).unwrap();
    assert_eq!(bytes.len(), 16 << 20);
    assert_eq!(bytes[8 << 20..][..8], (8_u64 << 20).to_le_bytes());
}
