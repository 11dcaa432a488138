//! The zero page, `struct boot_params`: what a kernel entered by the Linux protocol reads first.
//!
//! The structure is linux-loader's. What its configurator leaves to the caller is filled in here:
//! e820, `type_of_loader`, initrd with the `ext_` halves, command line, ACPI root pointer.

use linux_loader::bootparam::{
    E820_MAX_ENTRIES_ZEROPAGE, boot_e820_entry, boot_params, setup_header,
};
use vmmkit_guest_memory::{AccessError, GuestAddress, GuestRam};

use crate::Placed;
use crate::memory_map::{E820Entry, ZERO_PAGE};

/// `type_of_loader` of a boot loader without an assigned number; with 0, Linux ignores the initrd.
const LOADER_UNDEFINED: u8 = 0xff;
/// `boot_flag`.
const BOOT_FLAG: u16 = 0xaa55;
/// `header`: "HdrS".
const HEADER_MAGIC: u32 = 0x5372_6448;
/// The boot protocol that is spoken to a kernel without a setup header of its own: 2.15.
const PROTOCOL: u16 = 0x20f;
/// `loadflags`: LOADED_HIGH; and KASLR_FLAG, which only the kernel's own decompressor may set.
const LOADED_HIGH: u8 = 1;
const KASLR_FLAG: u8 = 1 << 1;

/// Contents of the zero page.
#[derive(Debug)]
pub(crate) struct ZeroPage<'a> {
    /// The file's own header, of a bzImage.
    pub(crate) header: Option<setup_header>,
    /// Where the kernel was loaded.
    pub(crate) kernel: u64,
    pub(crate) cmdline: GuestAddress,
    pub(crate) cmdline_limit: u32,
    pub(crate) initrd: Option<Placed>,
    pub(crate) e820: &'a [E820Entry],
    /// The ACPI root pointer.
    pub(crate) rsdp: Option<GuestAddress>,
}

impl ZeroPage<'_> {
    /// Writes it to its place; all other fields are zero.
    pub(crate) fn write(&self, ram: &GuestRam) -> Result<(), AccessError> {
        let mut params = boot_params {
            hdr: self.setup_header(),
            acpi_rsdp_addr: self.rsdp.map_or(0, |address| address.0),
            ..boot_params::default()
        };
        let (low, high) = halves(self.cmdline.0);
        params.hdr.cmd_line_ptr = low;
        params.ext_cmd_line_ptr = high;
        if let Some(initrd) = self.initrd {
            (params.hdr.ramdisk_image, params.ext_ramdisk_image) = halves(initrd.start.0);
            (params.hdr.ramdisk_size, params.ext_ramdisk_size) = halves(initrd.size);
        }
        let mut table = [boot_e820_entry::default(); E820_MAX_ENTRIES_ZEROPAGE];
        let mut count = 0;
        for (slot, entry) in table.iter_mut().zip(self.e820) {
            *slot = boot_e820_entry {
                addr: entry.start.0,
                size: entry.size,
                r#type: entry.kind as u32,
            };
            count += 1;
        }
        params.e820_table = table;
        params.e820_entries = count;
        ram.write(ZERO_PAGE, params)
    }

    fn setup_header(&self) -> setup_header {
        let mut header = self.header.unwrap_or_else(|| setup_header {
            boot_flag: BOOT_FLAG,
            header: HEADER_MAGIC,
            version: PROTOCOL,
            loadflags: LOADED_HIGH,
            cmdline_size: self.cmdline_limit,
            ..setup_header::default()
        });
        header.type_of_loader = LOADER_UNDEFINED;
        header.loadflags &= !KASLR_FLAG;
        header.code32_start = u32::try_from(self.kernel).unwrap_or(0);
        header.setup_data = 0;
        header
    }
}

fn halves(value: u64) -> (u32, u32) {
    ((value & u64::from(u32::MAX)) as u32, (value >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory_map::e820;
    use crate::testing::ram;

    fn write(ram: &GuestRam, header: Option<setup_header>) -> boot_params {
        let map = e820(ram);
        ZeroPage {
            header,
            kernel: 0x100_0000,
            cmdline: GuestAddress(0x2_0000),
            cmdline_limit: 2047,
            initrd: Some(Placed {
                start: GuestAddress(0x1_2345_6000),
                size: 0x1000,
            }),
            e820: &map,
            rsdp: Some(GuestAddress(0xe_0000)),
        }
        .write(ram)
        .unwrap();
        ram.read(ZERO_PAGE).unwrap()
    }

    #[test]
    fn a_kernel_without_a_header_gets_one_with_loader_type_and_magic() {
        let params = write(&ram(4), None);

        assert_eq!({ params.hdr.header }, HEADER_MAGIC);
        assert_eq!({ params.hdr.boot_flag }, 0xaa55);
        assert_eq!(params.hdr.type_of_loader, 0xff);
        assert_eq!({ params.hdr.cmd_line_ptr }, 0x2_0000);
        assert_eq!({ params.acpi_rsdp_addr }, 0xe_0000);
        assert_eq!(params.e820_entries, 4);
        assert_eq!({ params.e820_table[0].size }, 0x9_fc00);
    }

    #[test]
    fn an_initrd_above_4_gib_goes_into_the_ext_fields_too() {
        let params = write(&ram(4), None);

        assert_eq!({ params.hdr.ramdisk_image }, 0x2345_6000);
        assert_eq!({ params.ext_ramdisk_image }, 1);
        assert_eq!({ params.hdr.ramdisk_size }, 0x1000);
    }

    #[test]
    fn a_bzimages_own_header_is_kept_but_for_the_loaders_fields() {
        let own = setup_header {
            version: 0x20c,
            cmdline_size: 255,
            ..Default::default()
        };

        let params = write(&ram(4), Some(own));

        assert_eq!({ params.hdr.version }, 0x20c);
        assert_eq!({ params.hdr.cmdline_size }, 255);
        assert_eq!(params.hdr.type_of_loader, 0xff);
        assert_eq!({ params.hdr.code32_start }, 0x100_0000);
    }
}
