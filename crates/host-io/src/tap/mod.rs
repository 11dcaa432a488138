//! Tap interfaces: a network interface of the host whose other end is this process
//! (Linux, networking/tuntap).

mod error;
mod request;

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, socket};

pub use error::TapError;
use request::Interface;

/// Bytes of the header before each packet: that of virtio 1.2, section 5.1.6, with `num_buffers`.
const HEADER: i32 = 12;

/// One queue of a tap interface. Each read gives, and each write takes, one packet: a virtio-net
/// header of 12 bytes, then an Ethernet frame. Neither blocks. The interface lives on without the
/// process if it was made to (`ip tuntap add`); else it goes with its last queue.
#[derive(Debug)]
pub struct Tap {
    fd: OwnedFd,
    interface: String,
}

/// Work on a packet that may be left to its reader (TUNSETOFFLOAD).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapOffloads {
    /// The checksum; without it there is none of the others.
    pub checksum: bool,
    /// To cut a TCP segment over IPv4.
    pub tcp4: bool,
    /// To cut a TCP segment over IPv6.
    pub tcp6: bool,
    /// To cut a TCP segment with ECN.
    pub ecn: bool,
}

impl Tap {
    /// Whether there is a network interface `name`, of whatever kind (SIOCGIFINDEX).
    ///
    /// # Errors
    /// [`TapError::Name`] for what no interface can be called, and for a pattern such as `tap%d`, by
    /// which the host would make one of another name; [`TapError::Setting`] where the host does not say.
    pub fn exists(name: &str) -> Result<bool, TapError> {
        let request = Interface::new(name).filter(|_| !name.contains('%'));
        let mut request = request.ok_or_else(|| TapError::Name {
            name: name.to_owned(),
        })?;
        let mut ask = || request.perform(control_socket()?, libc::SIOCGIFINDEX);
        match ask() {
            Ok(()) => Ok(true),
            Err(Errno::NODEV | Errno::NXIO) => Ok(false),
            Err(error) => Err(TapError::setting(name, "be looked for", error)),
        }
    }

    /// Attaches `queues` queues to the interface `name`, or makes it, which is a privilege. An
    /// interface that is down is brought up where the process may do that.
    ///
    /// # Errors
    /// [`TapError`], with what to do.
    pub fn open(name: &str, queues: u16) -> Result<Vec<Self>, TapError> {
        let request = Interface::new(name).ok_or_else(|| TapError::Name {
            name: name.to_owned(),
        })?;
        let mut taps = Vec::new();
        let mut request = request;
        for _ in 0..queues {
            let (tap, attached) = Self::attach(request, queues)?;
            // The name of the first, should it have been a pattern.
            request = attached;
            taps.push(tap);
        }
        if let Some(tap) = taps.first() {
            tap.bring_up();
        }
        Ok(taps)
    }

    fn attach(request: Interface, queues: u16) -> Result<(Self, Interface), TapError> {
        let name = request.name();
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = open("/dev/net/tun", flags, Mode::empty())
            .map_err(|error| TapError::device(&name, error))?;
        let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        let several = flags | libc::IFF_MULTI_QUEUE;
        // One queue may also be one of an interface that was made for several.
        let ways: &[_] = match queues {
            1 => &[flags, several],
            _ => &[several],
        };
        let mut outcome = Err(Errno::INVAL);
        let mut attached = request;
        for flags in ways {
            attached = request.with_flags(*flags);
            outcome = attached.perform(&fd, libc::TUNSETIFF);
            if outcome != Err(Errno::INVAL) {
                break;
            }
        }
        outcome.map_err(|error| TapError::attach(&name, queues, error))?;
        let interface = attached.name();
        request::set_header_size(&fd, HEADER).map_err(|error| {
            TapError::setting(
                &interface,
                "have a header of 12 bytes before packets",
                error,
            )
        })?;
        let tap = Self { fd, interface };
        tap.set_offloads(TapOffloads::default())?;
        Ok((tap, attached))
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Sets what packets that are read may leave to be done, for all queues of the interface.
    ///
    /// # Errors
    /// [`TapError::Setting`].
    pub fn set_offloads(&self, offloads: TapOffloads) -> Result<(), TapError> {
        let bits = [
            (offloads.checksum, libc::TUN_F_CSUM),
            (offloads.checksum && offloads.tcp4, libc::TUN_F_TSO4),
            (offloads.checksum && offloads.tcp6, libc::TUN_F_TSO6),
            // The host takes it only beside one of the two above.
            (
                offloads.checksum && offloads.ecn && (offloads.tcp4 || offloads.tcp6),
                libc::TUN_F_TSO_ECN,
            ),
        ];
        let set = bits.iter().filter(|(is_set, _)| *is_set);
        let offload = set.fold(0, |bits, (_, bit)| bits | bit);
        request::set_offload(&self.fd, offload)
            .map_err(|error| TapError::setting(&self.interface, "set offloads", error))
    }

    /// Detaches this queue of several, so that the host gives it no packets, or attaches it again.
    /// Data waiting in a queue that is detached is gone; data written to it is still sent.
    ///
    /// # Errors
    /// [`TapError::Setting`]: also where the queue was like that already.
    pub fn set_attached(&self, is_attached: bool) -> Result<(), TapError> {
        let (flag, what) = if is_attached {
            (libc::IFF_ATTACH_QUEUE, "attach a queue")
        } else {
            (libc::IFF_DETACH_QUEUE, "detach a queue")
        };
        self.request()
            .and_then(|request| {
                request
                    .with_flags(flag)
                    .perform(&self.fd, libc::TUNSETQUEUE)
            })
            .map_err(|error| TapError::setting(&self.interface, what, error))
    }

    /// The largest packet of the interface, in bytes without the Ethernet header (SIOCGIFMTU).
    ///
    /// # Errors
    /// [`TapError::Setting`].
    pub fn mtu(&self) -> Result<u16, TapError> {
        let ask = || {
            let mut request = self.request()?;
            request.perform(control_socket()?, libc::SIOCGIFMTU)?;
            u16::try_from(request.mtu()).map_err(|_| Errno::OVERFLOW)
        };
        ask().map_err(|error| TapError::setting(&self.interface, "read the MTU", error))
    }

    /// Sets the largest packet of the interface, in bytes without the Ethernet header (SIOCSIFMTU): a
    /// privilege (CAP_NET_ADMIN).
    ///
    /// # Errors
    /// [`TapError::Setting`].
    pub fn set_mtu(&self, mtu: u16) -> Result<(), TapError> {
        let set = || {
            let mut request = self.request()?.with_mtu(mtu.into());
            request.perform(control_socket()?, libc::SIOCSIFMTU)
        };
        set().map_err(|error| TapError::setting(&self.interface, "set the MTU", error))
    }

    /// Whether the interface is up. One that is down takes no packets and gives none:
    /// `sudo ip link set tap0 up`.
    ///
    /// # Errors
    /// [`TapError::Setting`].
    pub fn is_up(&self) -> Result<bool, TapError> {
        self.flags()
            .map(|flags| flags & libc::IFF_UP != 0)
            .map_err(|error| TapError::setting(&self.interface, "read whether it is up", error))
    }

    fn bring_up(&self) {
        let try_it = || {
            let flags = self.flags()?;
            if flags & libc::IFF_UP != 0 {
                return Ok(());
            }
            let mut request = self.request()?.with_flags(flags | libc::IFF_UP);
            request.perform(control_socket()?, libc::SIOCSIFFLAGS)
        };
        // Who may not do it finds the interface down, as `is_up` tells.
        let _: Result<(), Errno> = try_it();
    }

    fn flags(&self) -> Result<i32, Errno> {
        let mut request = self.request()?;
        request.perform(control_socket()?, libc::SIOCGIFFLAGS)?;
        Ok(i32::from(request.flags()))
    }

    fn request(&self) -> Result<Interface, Errno> {
        Interface::new(&self.interface).ok_or(Errno::NODEV)
    }
}

/// A socket to ask about interfaces by (netdevice(7)): any will do.
fn control_socket() -> Result<OwnedFd, Errno> {
    socket(AddressFamily::INET, SocketType::DGRAM, None)
        .or_else(|_| socket(AddressFamily::UNIX, SocketType::DGRAM, None))
}

impl From<TapError> for io::Error {
    fn from(error: TapError) -> Self {
        Self::other(error)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Tap {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
