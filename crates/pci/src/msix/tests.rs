use vmmkit_device_bus::MessageVector;

use super::*;

type Seen = Arc<Mutex<Vec<MsiMessage>>>;

fn msix(count: usize) -> (Msix, Seen) {
    let seen = Seen::default();
    let vectors = (0..count).map(|_| {
        let seen = seen.clone();
        Arc::new(MessageVector::new(move |message| {
            seen.lock().push(message);
        })) as Arc<dyn MsiVector>
    });
    let msix = Msix::new(vectors.collect()).unwrap();
    msix.set_master(true);
    (msix, seen)
}

fn message(data: u32) -> MsiMessage {
    MsiMessage {
        address: 0xfee0_0000,
        data,
    }
}

/// Says where vector `index` goes, and whether it is masked.
fn program(msix: &Msix, index: u64, data: u32, is_masked: bool) {
    msix.write_table(16 * index, &0xfee0_0000_u64.to_le_bytes());
    msix.write_table(16 * index + 8, &data.to_le_bytes());
    msix.write_table(16 * index + 12, &u32::from(is_masked).to_le_bytes());
}

fn pending(msix: &Msix) -> u8 {
    let mut bytes = [0; 8];
    msix.read_pending(0, &mut bytes);
    assert_eq!(bytes[1..], [0; 7]);
    bytes[0]
}

fn take(seen: &Seen) -> Vec<MsiMessage> {
    std::mem::take(&mut seen.lock())
}

#[test]
fn a_vector_sends_its_message() {
    let (msix, seen) = msix(2);
    msix.set_control(spec::ENABLE);
    program(&msix, 0, 0x21, false);
    program(&msix, 1, 0x22, false);
    msix.signal(1);
    msix.signal(0);
    msix.signal(2);
    assert_eq!(take(&seen), [message(0x22), message(0x21)]);
    assert_eq!(pending(&msix), 0);
}

#[test]
fn without_bus_mastering_no_message_is_sent_6_8_3_5() {
    let (msix, seen) = msix(2);
    msix.set_control(spec::ENABLE);
    program(&msix, 0, 0x21, false);
    msix.set_master(false);
    msix.signal(0);
    assert_eq!((take(&seen), pending(&msix)), (vec![], 1));
    program(&msix, 1, 0x22, false);
    msix.signal(1);
    assert_eq!((take(&seen), pending(&msix)), (vec![], 3));
    msix.set_master(true);
    assert_eq!(take(&seen), [message(0x21), message(0x22)]);
    assert_eq!(pending(&msix), 0);
    msix.reset();
    msix.set_control(spec::ENABLE);
    program(&msix, 0, 0x21, false);
    msix.signal(0);
    assert_eq!((take(&seen), pending(&msix)), (vec![], 1), "as at power-on");
}

#[test]
fn a_masked_vector_is_pending_until_it_is_unmasked_6_8_2_9() {
    let (msix, seen) = msix(2);
    msix.set_control(spec::ENABLE);
    program(&msix, 1, 0x22, true);
    msix.signal(1);
    msix.signal(1);
    assert_eq!((take(&seen), pending(&msix)), (vec![], 2));
    program(&msix, 1, 0x33, false);
    assert_eq!((take(&seen), pending(&msix)), (vec![message(0x33)], 0));
}

#[test]
fn the_functions_mask_masks_all_vectors() {
    let (msix, seen) = msix(2);
    program(&msix, 0, 0x21, false);
    program(&msix, 1, 0x22, true);
    msix.set_control(spec::ENABLE | spec::FUNCTION_MASK);
    msix.signal(0);
    msix.signal(1);
    assert_eq!((take(&seen), pending(&msix)), (vec![], 3));
    msix.set_control(spec::ENABLE);
    assert_eq!((take(&seen), pending(&msix)), (vec![message(0x21)], 2));
}

#[test]
fn without_msix_nothing_is_sent_and_nothing_is_kept() {
    let (msix, seen) = msix(1);
    program(&msix, 0, 0x21, false);
    msix.signal(0);
    assert_eq!(pending(&msix), 0);
    msix.set_control(spec::ENABLE | spec::FUNCTION_MASK);
    msix.signal(0);
    assert_eq!(pending(&msix), 1);
    msix.set_control(0);
    msix.set_control(spec::ENABLE);
    assert_eq!(take(&seen), []);
}

#[test]
fn the_table_reads_as_it_was_written_in_double_and_quad_words() {
    let (msix, _) = msix(2);
    let mut entry = [0; 16];
    msix.read_table(16, &mut entry);
    assert_eq!(entry, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    msix.write_table(16, &0x1_fee0_1003_u64.to_le_bytes());
    msix.write_table(24, &0xffff_fffe_1234_5678_u64.to_le_bytes());
    // Odd ones are without effect.
    msix.write_table(16, &[0xff; 2]);
    msix.write_table(18, &[0xff; 4]);
    msix.write_table(20, &[0xff; 8]);
    msix.write_table(32, &[0xff; 8]);
    msix.write_table(!7, &[0xff; 8]);
    msix.read_table(16, &mut entry);
    let value = u128::from_le_bytes(entry);
    assert_eq!(value, 0x1234_5678_0000_0001_fee0_1000);
    let mut beyond = [0xff; 4];
    msix.read_table(30, &mut beyond);
    assert_eq!(beyond, [0; 4]);
}

#[test]
fn a_saved_table_goes_on_elsewhere_with_what_is_pending() {
    let (before, _) = msix(2);
    program(&before, 0, 0x21, true);
    program(&before, 1, 0x22, false);
    before.set_control(spec::ENABLE);
    before.signal(0);
    let saved = before.save();
    let (after, seen) = msix(2);
    after.restore("net0", &saved).unwrap();
    after.set_master(true);
    assert_eq!(after.save(), saved);
    assert_eq!((take(&seen), pending(&after)), (vec![], 1));
    program(&after, 0, 0x21, false);
    after.signal(1);
    assert_eq!(take(&seen), [message(0x21), message(0x22)]);
    let error = msix(3).0.restore("net0", &saved).unwrap_err();
    assert_eq!(
        error.to_string(),
        "net0: vectors.length 2: this machine has 3 vectors"
    );
    let mut bad = saved;
    bad.vectors[1].control = 3;
    let error = msix(2).0.restore("net0", &bad).unwrap_err();
    assert_eq!(
        error.to_string(),
        "net0: vectors[1].control 0x3: only the bits 0x1 are possible"
    );
}

#[test]
fn a_reset_masks_and_forgets_everything() {
    let (msix, seen) = msix(1);
    msix.set_control(spec::ENABLE);
    program(&msix, 0, 0x21, true);
    msix.signal(0);
    msix.reset();
    msix.set_control(spec::ENABLE);
    program(&msix, 0, 0x21, false);
    assert_eq!(take(&seen), []);
}

#[test]
fn there_are_1_to_2048_vectors() {
    assert!(Msix::new(Vec::new()).is_err());
    let (many, _) = msix(spec::MAX);
    let mut config = ConfigSpace::new(&crate::Identity::default());
    assert_eq!(many.add_to(&mut config, 2, 0x4000, 0xc000), Ok(0x40));
    let mut body = [0; 12];
    config.read(0x40, &mut body);
    assert_eq!(body, [0x11, 0, 0xff, 7, 2, 0x40, 0, 0, 2, 0xc0, 0, 0]);
}
