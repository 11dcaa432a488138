//! Bytes become plugs, unplugs, reads and writes of a port bus, whose answers must be those of a
//! model that knows the owner of each port by itself.
//!
//! One operation is 6 bytes: what (modulo 4), a port (2, little-endian), a length, a mark, and the
//! high byte of the length of a plug.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vmmkit_device_bus::{
    AddressRange, BusView, DevicePio, PioAddress, PioAddressOffset, PortBus, Ports,
};

/// Reads give mark plus offset of each byte; writes are counted byte by byte.
struct Probe {
    mark: u8,
    written: Arc<AtomicU64>,
}

impl DevicePio for Probe {
    fn pio_read(&self, _: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        for (step, byte) in (0_u8..).zip(data) {
            *byte = self.mark.wrapping_add(offset as u8).wrapping_add(step);
        }
    }

    fn pio_write(&self, _: PioAddress, _: PioAddressOffset, data: &[u8]) {
        self.written.fetch_add(data.len() as u64, Ordering::Relaxed);
    }
}

/// The bus, a view of it, and what they should be like.
struct Comparison {
    bus: Arc<PortBus>,
    view: BusView<Ports>,
    written: Arc<AtomicU64>,
    model: Vec<(AddressRange, u8)>,
}

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let bus = Arc::new(PortBus::new());
    let view = bus.view();
    let mut comparison = Comparison {
        bus,
        view,
        written: Arc::default(),
        model: Vec::new(),
    };
    let (operations, _) = bytes.as_chunks::<6>();
    for &[kind, low, high, length, mark, more] in operations {
        let port = u16::from_le_bytes([low, high]);
        match kind % 4 {
            0 => comparison.plug(port, u16::from_le_bytes([length, more]), mark),
            1 => comparison.unplug(port),
            2 => comparison.read(port, usize::from(length % 16)),
            _ => comparison.write(port, usize::from(length % 16)),
        }
    }
    assert_eq!(comparison.bus.regions().len(), comparison.model.len());
}

impl Comparison {
    fn owner(&self, port: u64) -> Option<(AddressRange, u8)> {
        self.model
            .iter()
            .copied()
            .find(|(range, _)| range.contains(port))
    }

    fn plug(&mut self, port: u16, length: u16, mark: u8) {
        let range = AddressRange::new(port.into(), length.into());
        let end = range.base + range.length;
        // Each port by itself would be slow: the ends of both ranges say as much.
        let free = range.length > 0
            && end <= 0x1_0000
            && self.owner(range.base).is_none()
            && !self
                .model
                .iter()
                .any(|(there, _)| range.contains(there.base));
        let probe = Arc::new(Probe {
            mark,
            written: self.written.clone(),
        });
        assert_eq!(self.bus.plug("probe", range, probe).is_ok(), free);
        if free {
            self.model.push((range, mark));
        }
    }

    fn unplug(&mut self, port: u16) {
        let index = self
            .model
            .iter()
            .position(|(range, _)| range.base == u64::from(port));
        let unplugged = self.bus.unplug(port.into());
        assert_eq!(
            unplugged.map(|plug| plug.range),
            index.map(|index| self.model.remove(index).0)
        );
    }

    fn read(&mut self, port: u16, length: usize) {
        let ports = u64::from(port)..u64::from(port) + length as u64;
        let answer =
            |(range, mark): (AddressRange, u8), port| mark.wrapping_add((port - range.base) as u8);
        let expected: Vec<u8> = ports
            .map(|port| self.owner(port).map_or(0xff, |owner| answer(owner, port)))
            .collect();
        let mut data = vec![0xaa; length];
        self.view.read(port.into(), &mut data);
        assert_eq!(data, expected);
        self.bus.read(port.into(), &mut data);
        assert_eq!(data, expected);
    }

    fn write(&mut self, port: u16, length: usize) {
        let ports = u64::from(port)..u64::from(port) + length as u64;
        let owned = ports.filter(|&port| self.owner(port).is_some()).count() as u64;
        let before = self.written.load(Ordering::Relaxed);
        self.view.write(port.into(), &vec![0; length]);
        assert_eq!(self.written.load(Ordering::Relaxed) - before, owned);
    }
}
