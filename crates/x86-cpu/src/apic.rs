//! The pins of the local APIC.

/// Offset of LVT LINT0 in the register page (Intel SDM vol. 3A, 11.4.1).
const LINT0: usize = 0x350;
/// Offset of LVT LINT1.
const LINT1: usize = 0x360;
/// Delivery mode, bits 10:8 of an LVT entry (11.5.1).
const MODE: u32 = 7 << 8;
/// Delivery mode: the vector comes from the 8259.
const EXTINT: u32 = 7 << 8;
/// Delivery mode: non-maskable interrupt.
const NMI: u32 = 4 << 8;
/// Bit 16 of an LVT entry: the pin is not heard.
const MASKED: u32 = 1 << 16;

/// Wires the pins of the local APIC whose registers are `page` as firmware leaves them: the 8259
/// to LINT0, NMI to LINT1, both heard (Intel SDM vol. 3A, 11.5.1; MP specification 1.4, 3.6.2.2).
pub fn lapic_wiring(page: &mut [u8; 1024]) {
    wire(page, LINT0, EXTINT);
    wire(page, LINT1, NMI);
}

fn wire(page: &mut [u8; 1024], offset: usize, mode: u32) {
    let Some(register) = page
        .get_mut(offset..)
        .and_then(|rest| rest.first_chunk_mut())
    else {
        return;
    };
    let value = u32::from_le_bytes(*register) & !(MODE | MASKED) | mode;
    *register = value.to_le_bytes();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_8259_is_heard_at_lint0_and_nmi_at_lint1() {
        let mut page = [0; 1024];
        for pin in [LINT0, LINT1] {
            page[pin..pin + 4].copy_from_slice(&0x0001_0000_u32.to_le_bytes());
        }

        lapic_wiring(&mut page);

        assert_eq!(page[LINT0..LINT0 + 4], [0, 7, 0, 0]);
        assert_eq!(page[LINT1..LINT1 + 4], [0, 4, 0, 0]);
        assert_eq!(page.iter().filter(|byte| **byte != 0).count(), 2);
    }

    #[test]
    fn other_bits_of_the_pins_stay() {
        let mut page = [0xff; 1024];

        lapic_wiring(&mut page);

        assert_eq!(page[LINT0..LINT0 + 4], [0xff, 0xff, 0xfe, 0xff]);
        assert_eq!(page[LINT1..LINT1 + 4], [0xff, 0xfc, 0xfe, 0xff]);
    }
}
