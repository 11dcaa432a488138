//! Messages as bytes ("Message Specification"). All numbers are in the machine's byte order.

/// The header of every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) request: u32,
    pub(super) flags: u32,
    /// Bytes of the payload.
    pub(super) size: u32,
}

impl Header {
    pub(super) const BYTES: usize = 12;

    pub(super) fn parse(bytes: &[u8; Self::BYTES]) -> Self {
        Self {
            request: u32_at(bytes, 0),
            flags: u32_at(bytes, 4),
            size: u32_at(bytes, 8),
        }
    }
}

/// A whole message.
pub(super) fn message(request: u32, flags: u32, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut bytes = words(&[request, flags, size]);
    bytes.extend(payload);
    bytes
}

/// "A vring state description".
pub(super) fn vring_state(index: u16, number: u32) -> Vec<u8> {
    words(&[index.into(), number])
}

/// "A vring address description", of addresses in the front end; without a log.
pub(super) fn vring_address(index: u16, descriptors: u64, used: u64, available: u64) -> Vec<u8> {
    let mut bytes = words(&[index.into(), 0]);
    bytes.extend(longs(&[descriptors, used, available, 0]));
    bytes
}

/// One of "Memory regions description".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) guest_address: u64,
    pub(super) size: u64,
    /// Where it is in the front end: in such addresses it says where rings are.
    pub(super) user_address: u64,
    /// Where it begins in its file.
    pub(super) file_offset: u64,
}

/// "Memory regions description".
pub(super) fn memory_table(regions: &[Region]) -> Vec<u8> {
    let mut bytes = words(&[u32::try_from(regions.len()).unwrap_or(0), 0]);
    for region in regions {
        bytes.extend(longs(&[
            region.guest_address,
            region.size,
            region.user_address,
            region.file_offset,
        ]));
    }
    bytes
}

/// Bytes of "Virtio device config space" before its contents.
pub(super) const CONFIG_HEADER: usize = 12;

/// "Virtio device config space", of a driver's access.
pub(super) fn config(offset: usize, contents: &[u8]) -> Vec<u8> {
    let word = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    let mut bytes = words(&[word(offset), word(contents.len()), 0]);
    bytes.extend(contents);
    bytes
}

/// The 32 bits at `offset`; 0 where there are none.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let end = offset.saturating_add(4);
    let value = bytes.get(offset..end).and_then(|part| part.try_into().ok());
    u32::from_ne_bytes(value.unwrap_or_default())
}

fn words(values: &[u32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_ne_bytes())
        .collect()
}

fn longs(values: &[u64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_ne_bytes())
        .collect()
}
