//! The VM generation ID and the VMClock in the DSDT, and the event that tells of their change.

use acpi_tables::aml::{Memory32Fixed, Method, Notify, PackageBuilder, Path};

use super::entry::{Entry, edge};

/// The value of the notification (Microsoft, "Virtual Machine Generation ID", 2012).
const CHANGED: u8 = 0x80;
/// Bytes of the VMClock's page.
const CLOCK_SIZE: u32 = 0x1000;

/// The ID, the clock, and the generic event device (ACPI 6.5, section 5.6.9), whose _EVT notifies both.
pub(super) fn describe(id: u64, clock: u32, gsi: u32) -> [Entry; 3] {
    let mut address = PackageBuilder::new();
    // The low and the high half: truncation is the point.
    address.add_element(&(id as u32));
    address.add_element(&((id >> 32) as u32));
    let id = Entry::new("VGEN".to_owned(), &"VMGENCTR", 0)
        .named("_CID", &"VM_Gen_Counter")
        .named("_DDN", &"VM_Gen_Counter")
        .named("ADDR", &address);
    let clock = Entry::new("VCLK".to_owned(), &"AMZNC10C", 0)
        .named("_CID", &"VMCLOCK")
        .named("_DDN", &"VMCLOCK")
        .with(&Memory32Fixed::new(true, clock, CLOCK_SIZE));
    let (id_path, clock_path) = (Path::new("\\_SB_.VGEN"), Path::new("\\_SB_.VCLK"));
    let notifications = [
        Notify::new(&id_path, &CHANGED),
        Notify::new(&clock_path, &CHANGED),
    ];
    let [notify_id, notify_clock] = &notifications;
    let event = Method::new(Path::new("_EVT"), 1, true, vec![notify_id, notify_clock]);
    let events = Entry::new("GED_".to_owned(), &"ACPI0013", 0)
        .with(&edge(gsi))
        .method(&event);
    [id, clock, events]
}
