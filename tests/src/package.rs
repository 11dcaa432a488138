//! A repository of Debian packages: one package, of one program.

use std::io;

use crate::process::sha256;

/// The package, and its program.
pub const PACKAGE: &str = "vmmkit-greeting";
/// The program's greeting.
pub const GREETING: &str = "the package greets";

/// Bytes of a block of a tar file.
const BLOCK: usize = 512;

/// A flat repository, without a Release file: what apt takes as `deb [trusted=yes] URL ./`.
#[derive(Debug)]
pub struct Repository {
    package: Vec<u8>,
    index: String,
}

impl Repository {
    /// Makes it.
    ///
    /// # Errors
    /// Where there is no sha256sum(1).
    pub fn new() -> io::Result<Self> {
        let control = format!(
            "Package: {PACKAGE}\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\n\
             Description: says that it is there\n"
        );
        let program = format!("#!/bin/sh\necho {GREETING}\n");
        let package = archive(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar", &tar("./control", 0o644, control.as_bytes())),
            (
                "data.tar",
                &tar(&format!("./usr/bin/{PACKAGE}"), 0o755, program.as_bytes()),
            ),
        ]);
        let index = format!(
            "{control}Filename: ./{PACKAGE}.deb\nSize: {}\nSHA256: {}\n\n",
            package.len(),
            sha256(&package)?
        );
        Ok(Self { package, index })
    }

    /// The file that a web server gives for `path`.
    pub fn file(&self, path: &str) -> Option<Vec<u8>> {
        // apt asks for `/./Packages`.
        match path.rsplit('/').next()? {
            "Packages" => Some(self.index.clone().into_bytes()),
            name if name.strip_suffix(".deb") == Some(PACKAGE) => Some(self.package.clone()),
            _ => None,
        }
    }
}

/// A file of ar(5), as deb(5) wants it.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut all = b"!<arch>\n".to_vec();
    for (name, bytes) in members {
        let length = bytes.len();
        all.extend(
            format!(
                "{name:<16}{:<12}{:<6}{:<6}{:<8}{length:<10}`\n",
                0, 0, 0, 100644
            )
            .bytes(),
        );
        all.extend_from_slice(bytes);
        all.resize(all.len().next_multiple_of(2), b'\n');
    }
    all
}

/// A tar file (POSIX.1-1988, ustar) with one file of root's.
fn tar(name: &str, mode: u32, bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len();
    let before = format!(
        "{name:\0<100}{mode:07o}\0{:07o}\0{:07o}\0{length:011o}\0{:011o}\0",
        0, 0, 0
    );
    let after = format!("0{:\0<100}ustar\x0000root{:\0<28}root", "", "");
    let blank_sum = 8 * u32::from(b' ');
    let sum: u32 = before.bytes().chain(after.bytes()).map(u32::from).sum();
    let mut all = format!("{before}{:06o}\0 {after}", sum + blank_sum).into_bytes();
    all.resize(BLOCK, 0);
    all.extend_from_slice(bytes);
    // Two blank blocks are the end.
    all.resize(all.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
    all
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;
    use crate::process::run_bounded;

    #[test]
    fn tar_reads_what_was_made() {
        let mut command = Command::new("tar");
        let all = tar("./usr/bin/it", 0o755, b"bytes");
        let list = run_bounded(command.arg("tvf").arg("-"), &all, Duration::from_secs(60)).unwrap();
        assert_eq!(list.code(), Some(0), "{list:?}");
        assert!(list.stdout.starts_with("-rwxr-xr-x"), "{list:?}");
        assert!(list.stdout.trim_end().ends_with("./usr/bin/it"), "{list:?}");
    }

    #[test]
    fn the_index_names_the_package() {
        let repository = Repository::new().unwrap();
        let index = String::from_utf8(repository.file("/./Packages").unwrap()).unwrap();
        let name = index
            .split("Filename: .")
            .nth(1)
            .unwrap()
            .lines()
            .next()
            .unwrap();
        let size = format!("Size: {}", repository.file(name).unwrap().len());
        assert!(index.contains(&size), "{index}");
        assert_eq!(repository.file("/./Packages.xz"), None);
    }
}
