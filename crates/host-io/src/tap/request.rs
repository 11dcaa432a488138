//! The ioctls of tap interfaces and of network interfaces.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

/// The room for a name in `struct ifreq` (netdevice(7)), its final zero with it.
const NAME: usize = 16;

/// `struct ifreq` of netdevice(7): a name, and a union whose members used here begin at its start.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct Interface {
    name: [u8; NAME],
    value: [u8; 24],
}

impl Interface {
    /// A request about the interface `name`; `None` for what is not a name.
    pub(super) fn new(name: &str) -> Option<Self> {
        let is_plain = |byte: u8| !byte.is_ascii_whitespace() && byte != b'/' && byte != 0;
        let is_name = (1..NAME).contains(&name.len()) && name.bytes().all(is_plain);
        let mut request = Self {
            name: [0; NAME],
            value: [0; 24],
        };
        let place = request.name.get_mut(..name.len()).filter(|_| is_name)?;
        place.copy_from_slice(name.as_bytes());
        Some(request)
    }

    /// The name, which the host fills in where it was a pattern (`tap%d`).
    pub(super) fn name(&self) -> String {
        let name = self.name.split(|byte| *byte == 0).next();
        String::from_utf8_lossy(name.unwrap_or_default()).into_owned()
    }

    /// The union as `ifr_flags`.
    pub(super) fn flags(&self) -> i16 {
        let [low, high, ..] = self.value;
        i16::from_ne_bytes([low, high])
    }

    /// The same with other `ifr_flags`.
    pub(super) fn with_flags(mut self, flags: i32) -> Self {
        let [low, high, ..] = flags.to_ne_bytes();
        self.value = [0; 24];
        let [first, second, ..] = &mut self.value;
        (*first, *second) = (low, high);
        self
    }

    /// The same with another `ifr_mtu`.
    pub(super) fn with_mtu(mut self, mtu: i32) -> Self {
        self.value = [0; 24];
        for (place, byte) in self.value.iter_mut().zip(mtu.to_ne_bytes()) {
            *place = byte;
        }
        self
    }

    /// The union as `ifr_mtu`.
    pub(super) fn mtu(&self) -> i32 {
        let [a, b, c, d, ..] = self.value;
        i32::from_ne_bytes([a, b, c, d])
    }

    /// Performs one of the requests that take a `struct ifreq`.
    pub(super) fn perform(&mut self, fd: impl AsFd, request: libc::Ioctl) -> Result<(), Errno> {
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: every caller is in this module and names a request that reads and writes at most
        // a `struct ifreq`; `self` is one (the same size, checked below, and alignment), borrowed
        // for writing.
        let answer = unsafe { libc::ioctl(fd, request, std::ptr::from_mut(self)) };
        check(answer)
    }
}

const _: () = assert!(size_of::<Interface>() == size_of::<libc::ifreq>());

/// TUNSETVNETHDRSZ: the size of the header before each packet, in bytes.
pub(super) fn set_header_size(fd: impl AsFd, size: i32) -> Result<(), Errno> {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the request reads one int, which `size` is.
    let answer = unsafe { libc::ioctl(fd, libc::TUNSETVNETHDRSZ, std::ptr::from_ref(&size)) };
    check(answer)
}

/// TUNSETOFFLOAD: what packets may be left for the reader to do.
pub(super) fn set_offload(fd: impl AsFd, offload: u32) -> Result<(), Errno> {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the request takes a number and no pointer.
    let answer = unsafe { libc::ioctl(fd, libc::TUNSETOFFLOAD, libc::c_ulong::from(offload)) };
    check(answer)
}

fn check(answer: i32) -> Result<(), Errno> {
    if answer == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use super::Interface;

    #[test]
    fn a_name_is_what_the_host_takes_for_one() {
        assert_eq!(Interface::new("tap0").unwrap().name(), "tap0");
        for wrong in ["", "a name", "a/b", "0123456789abcdef", "tap\0"] {
            assert!(Interface::new(wrong).is_none(), "{wrong:?}");
        }
        let request = Interface::new("0123456789abcde").unwrap();
        assert_eq!(request.with_flags(0x5002).flags(), 0x5002);
        assert_eq!(request.with_mtu(70_000).mtu(), 70_000);
    }
}
