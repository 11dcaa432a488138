//! Random numbers of the host.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// `N` random bytes, at most 256, fit for keys: getrandom(2). It waits for entropy only while the host boots.
///
/// # Errors
/// The host's: none in practice but where a filter of system calls forbids it.
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    // Linux gives up to 256 bytes whole, whatever signals arrive.
    let found = getrandom(&mut bytes, GetRandomFlags::empty())?;
    if found < N {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_alike() {
        let one: [u8; 16] = random_bytes().unwrap();
        assert_ne!(one, random_bytes().unwrap());
        assert_ne!(one, [0; 16]);
    }
}
