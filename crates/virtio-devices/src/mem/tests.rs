use proptest::prelude::*;
use vmmkit_device_bus::{SaveState, SavedState, check_golden};
use vmmkit_guest_memory::{GuestAddress, RamConfig, RamSize};
use vmmkit_virtio::fake::hostile::torture;
use vmmkit_virtio::fake::{Driver, Options, TransportKind};

use super::*;

const START: u64 = 4 << 30;
const MEBIBYTE: u64 = 1 << 20;
const ACK: [u8; 10] = [0; 10];
const NACK: [u8; 10] = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const ERROR: [u8; 10] = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// 64 blocks at 4 GiB.
fn mem() -> Arc<Mem> {
    let config = RamConfig {
        size: RamSize::mebibytes(128),
        max: Some(RamSize::mebibytes(256)),
        ..RamConfig::default()
    };
    let area = GuestRam::pluggable(&config).unwrap().unwrap();
    Arc::new(Mem::new(area).unwrap())
}

fn block(number: u64) -> u64 {
    START + number * BLOCK_SIZE
}

fn request(kind: u16, address: u64, count: u16) -> [u8; 24] {
    let mut bytes = [0xee; 24];
    bytes[..2].copy_from_slice(&kind.to_le_bytes());
    bytes[8..16].copy_from_slice(&address.to_le_bytes());
    bytes[16..18].copy_from_slice(&count.to_le_bytes());
    bytes
}

fn ask(driver: &mut Driver, kind: u16, address: u64, count: u16) -> Vec<u8> {
    let request = request(kind, address, count);
    driver.request(0, &[&request], &[10]).unwrap()
}

fn number(driver: &Driver, offset: usize) -> u64 {
    u64::from_le_bytes(driver.config(offset as u64))
}

#[test]
fn the_configuration_says_where_and_how_much_5_15_4() {
    for transport in [TransportKind::Mmio, TransportKind::Pci] {
        let mem = mem();
        let options = Options {
            transport,
            ..Options::default()
        };
        let driver = Driver::start_with(mem.clone(), &options).unwrap();
        assert_eq!(number(&driver, spec::CONFIG_BLOCK_SIZE), 2 * MEBIBYTE);
        assert_eq!(number(&driver, spec::CONFIG_ADDR), START);
        assert_eq!(number(&driver, spec::CONFIG_REGION_SIZE), 128 * MEBIBYTE);
        let usable = number(&driver, spec::CONFIG_USABLE_REGION_SIZE);
        assert_eq!(usable, 128 * MEBIBYTE);
        assert_eq!(driver.offered_features() & 0xff_ffff, 0);
        // A driver cannot write any of it.
        driver.set_config(spec::CONFIG_REQUESTED_SIZE as u64, &[0xff; 8]);
        assert_eq!(number(&driver, spec::CONFIG_REQUESTED_SIZE), 0);
        let seen = driver.interrupts();
        mem.request(64 * MEBIBYTE).unwrap();
        assert!(driver.wait_interrupt(seen, std::time::Duration::from_secs(10)) > seen);
        assert_eq!(number(&driver, spec::CONFIG_REQUESTED_SIZE), 64 * MEBIBYTE);
    }
}

#[test]
fn blocks_are_plugged_until_there_are_as_many_as_asked_for() {
    let mem = mem();
    let mut driver = Driver::start(mem.clone()).unwrap();
    assert_eq!(ask(&mut driver, spec::REQ_PLUG, block(0), 1), NACK);
    mem.request(8 * MEBIBYTE).unwrap();
    assert_eq!(ask(&mut driver, spec::REQ_PLUG, block(60), 3), ACK);
    assert_eq!(ask(&mut driver, spec::REQ_PLUG, block(0), 2), NACK);
    assert_eq!(ask(&mut driver, spec::REQ_PLUG, block(63), 1), ACK);
    assert_eq!(number(&driver, spec::CONFIG_PLUGGED_SIZE), 8 * MEBIBYTE);
    // Less is asked for: nothing is taken from the guest, and nothing more is given.
    mem.request(2 * MEBIBYTE).unwrap();
    assert_eq!(mem.plugged(), 8 * MEBIBYTE);
    assert_eq!(ask(&mut driver, spec::REQ_UNPLUG, block(61), 1), ACK);
    assert_eq!(ask(&mut driver, spec::REQ_PLUG, block(61), 1), NACK);
    let counters = mem.counters();
    assert_eq!((counters.plugs, counters.unplugs), (2, 1));
    assert_eq!((counters.refused, counters.errors), (3, 0));
}

#[test]
fn blocks_that_are_not_there_or_in_another_state_are_errors() {
    let mem = mem();
    mem.request(128 * MEBIBYTE).unwrap();
    let mut driver = Driver::start(mem.clone()).unwrap();
    assert_eq!(ask(&mut driver, spec::REQ_PLUG, block(4), 4), ACK);
    let outside = [
        (block(4), 0),
        (block(4) + 4096, 1),
        (START - BLOCK_SIZE, 1),
        (0, 1),
        (block(63), 2),
        (block(64), 1),
        (block(4), u16::MAX),
        (u64::MAX - BLOCK_SIZE + 1, 1),
        (u64::MAX, u16::MAX),
    ];
    let (mut errors, kinds) = (0, [spec::REQ_PLUG, spec::REQ_UNPLUG, spec::REQ_STATE]);
    for (address, count) in outside {
        for kind in kinds {
            let answer = ask(&mut driver, kind, address, count);
            assert_eq!(answer, ERROR, "{kind} {address:#x} {count}");
            errors += 1;
        }
    }
    for (kind, first, count) in [
        (spec::REQ_PLUG, 4, 1),
        (spec::REQ_PLUG, 3, 2),
        (spec::REQ_UNPLUG, 3, 2),
        (spec::REQ_UNPLUG, 8, 1),
    ] {
        assert_eq!(ask(&mut driver, kind, block(first), count), ERROR);
        errors += 1;
    }
    assert_eq!(mem.plugged(), 8 * MEBIBYTE);
    assert_eq!(mem.counters().errors, errors);
}

#[test]
fn the_state_of_blocks_is_told() {
    let mem = mem();
    mem.request(128 * MEBIBYTE).unwrap();
    let mut driver = Driver::start(mem).unwrap();
    ask(&mut driver, spec::REQ_PLUG, block(4), 4);
    let mut state = |first, count| ask(&mut driver, spec::REQ_STATE, block(first), count)[8];
    assert_eq!(state(4, 4), 0);
    assert_eq!((state(0, 4), state(8, 56)), (1, 1));
    assert_eq!((state(3, 2), state(7, 2), state(0, 64)), (2, 2, 2));
}

#[test]
fn what_is_unplugged_is_the_hosts_again_and_zero_when_it_comes_back() {
    let mem = mem();
    mem.request(128 * MEBIBYTE).unwrap();
    let mut driver = Driver::start(mem.clone()).unwrap();
    let memory = mem.memory().clone();
    let touch = |first| memory.write(GuestAddress(block(first)), 7_u8).unwrap();
    let read = |first| memory.read::<u8>(GuestAddress(block(first))).unwrap();
    ask(&mut driver, spec::REQ_PLUG, block(0), 8);
    [0, 5, 40].into_iter().for_each(touch);
    assert_eq!(ask(&mut driver, spec::REQ_UNPLUG, block(4), 2), ACK);
    assert_eq!((read(0), read(5), read(40)), (7, 0, 7));
    assert_eq!(mem.counters().discarded_bytes, 4 * MEBIBYTE);
    assert_eq!(ask(&mut driver, spec::REQ_UNPLUG_ALL, u64::MAX, 0), ACK);
    // What was touched without being plugged too.
    assert_eq!((read(0), read(40), mem.plugged()), (0, 0, 0));
}

#[test]
fn requests_that_are_none_change_nothing() {
    let mem = mem();
    mem.request(128 * MEBIBYTE).unwrap();
    let mut driver = Driver::start(mem.clone()).unwrap();
    let plug = request(spec::REQ_PLUG, block(0), 1);
    let unknown = request(4, block(0), 1);
    assert_eq!(driver.request(0, &[&unknown], &[10]).unwrap(), ERROR);
    assert_eq!(driver.request(0, &[&plug[..23]], &[10]).unwrap(), ERROR);
    assert_eq!(driver.request(0, &[], &[10]).unwrap(), ERROR);
    assert!(driver.request(0, &[&plug], &[]).unwrap().is_empty());
    assert_eq!(driver.request(0, &[&plug], &[9]).unwrap(), ERROR[..9]);
    assert_eq!((mem.plugged(), mem.counters().malformed), (0, 5));
    // In pieces, and with more room than there is to say.
    let answer = driver.request(0, &[&plug[..5], &plug[5..]], &[3, 30]);
    assert_eq!(answer.unwrap(), ACK);
}

#[test]
fn a_driver_that_resets_the_device_keeps_its_memory_and_a_reset_of_the_machine_takes_it() {
    let mem = mem();
    mem.request(16 * MEBIBYTE).unwrap();
    let mut driver = Driver::start(mem.clone()).unwrap();
    ask(&mut driver, spec::REQ_PLUG, block(0), 8);
    mem.memory().write(GuestAddress(START), 7_u8).unwrap();
    driver.initialise(&Options::default()).unwrap();
    assert_eq!(mem.plugged(), 16 * MEBIBYTE);
    assert_eq!(mem.memory().read::<u8>(GuestAddress(START)), Ok(7));
    mem.power_on();
    assert_eq!((mem.plugged(), mem.requested()), (0, 16 * MEBIBYTE));
    assert_eq!(mem.memory().read::<u8>(GuestAddress(START)), Ok(0));
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let mem = mem();
    let too_much = mem.request(130 * MEBIBYTE).unwrap_err().to_string();
    assert!(too_much.contains("more than the 134217728"), "{too_much}");
    let odd = mem.request(MEBIBYTE).unwrap_err();
    assert_eq!(odd, MemError::Fraction { bytes: MEBIBYTE });
    assert_eq!(mem.requested(), 0);
    let ram = GuestRam::new(&RamConfig {
        size: RamSize::new(MEBIBYTE).unwrap(),
        ..RamConfig::default()
    });
    assert_eq!(Mem::new(ram.unwrap()).unwrap_err(), MemError::Area);
}

#[test]
fn a_device_that_moved_has_the_same_blocks() {
    let old = mem();
    old.request(32 * MEBIBYTE).unwrap();
    let mut driver = Driver::start(old).unwrap();
    ask(&mut driver, spec::REQ_PLUG, block(0), 3);
    ask(&mut driver, spec::REQ_PLUG, block(62), 2);
    let new = mem();
    let state = driver.move_to(new.clone()).unwrap();
    let json = state.to_json();
    assert!(json.contains("[[0,3],[62,2]]"), "{json}");
    assert_eq!(new.plugged(), 10 * MEBIBYTE);
    assert_eq!(new.requested(), 32 * MEBIBYTE);
    assert_eq!(ask(&mut driver, spec::REQ_UNPLUG, block(62), 2), ACK);
}

#[test]
fn states_that_are_none_are_refused() {
    let mem = mem();
    let state = |size: u64, requested: u64, plugged: &str| {
        let json = format!(
            r#"{{"kind":"virtio-mem","version":1,"state":{{"start":{START},"size":{size},"requested":{requested},"plugged":{plugged}}}}}"#
        );
        SavedState::from_json(json.as_bytes()).unwrap()
    };
    let size = 128 * MEBIBYTE;
    for (state, field) in [
        (state(size + BLOCK_SIZE, 0, "[]"), "size"),
        (state(size, 1, "[]"), "requested"),
        (state(size, 2 * size, "[]"), "requested"),
        (state(size, 0, "[[0,65]]"), "plugged"),
        (state(size, 0, "[[0,0]]"), "plugged"),
        (state(size, 0, "[[2,2],[3,1]]"), "plugged"),
        (state(size, 0, "[[18446744073709551615,2]]"), "plugged"),
        (state(size, 0, "[[-1,2]]"), "plugged[0][0]"),
    ] {
        let error = mem.restore_state(&state).unwrap_err();
        assert_eq!(&*error.field, field, "{error}");
        assert_eq!(mem.plugged(), 0);
    }
    mem.restore_state(&state(size, 0, "[[2,2],[4,60]]"))
        .unwrap();
    assert_eq!(mem.plugged(), 62 * BLOCK_SIZE);
}

#[test]
fn states_of_earlier_builds_load() {
    let golden = include_str!("../../goldens/virtio-mem.v1.json");
    check_golden(&*mem(), golden).unwrap();
}

#[test]
fn a_hostile_driver_is_survived() {
    let mem = mem();
    mem.request(64 * MEBIBYTE).unwrap();
    let device: Arc<dyn Device> = mem.clone();
    torture(&device, 1, 200).unwrap();
    assert!(mem.plugged() <= 64 * MEBIBYTE);
}

proptest! {
    /// Beside a set of block numbers.
    #[test]
    fn an_area_is_a_set_of_blocks(
        steps in prop::collection::vec((0_u16..4, 0_u64..70, 0_u16..20, 0_u64..65), 1..60)
    ) {
        let mut area = MemArea::new(START, 64 * BLOCK_SIZE).unwrap();
        let mut model = std::collections::BTreeSet::new();
        for (kind, first, count, requested) in steps {
            prop_assert!(area.request(requested * BLOCK_SIZE));
            let request = MemRequest::parse(&request(kind, block(first), count)).unwrap();
            let (answer, released) = area.answer(request);
            let named: Vec<_> = (first..first + u64::from(count)).collect();
            let exists = count > 0 && named.iter().all(|it| *it < 64);
            let plugged = named.iter().filter(|it| model.contains(*it)).count();
            let expected = match request {
                MemRequest::UnplugAll => MemAnswer::Ack,
                _ if !exists => MemAnswer::Error,
                MemRequest::Plug(_) if plugged > 0 => MemAnswer::Error,
                MemRequest::Plug(_) if model.len() + named.len() > requested as usize => MemAnswer::Nack,
                MemRequest::Unplug(_) if plugged < named.len() => MemAnswer::Error,
                MemRequest::State(_) if plugged == named.len() => MemAnswer::State(MemState::Plugged),
                MemRequest::State(_) if plugged == 0 => MemAnswer::State(MemState::Unplugged),
                MemRequest::State(_) => MemAnswer::State(MemState::Mixed),
                _ => MemAnswer::Ack,
            };
            prop_assert_eq!(answer, expected);
            let mut gone = None;
            match (request, answer) {
                (MemRequest::Plug(_), MemAnswer::Ack) => model.extend(named),
                (MemRequest::Unplug(_), MemAnswer::Ack) => {
                    gone = Some(Released { address: block(first), length: u64::from(count) * BLOCK_SIZE });
                    named.iter().for_each(|it| { model.remove(it); });
                }
                (MemRequest::UnplugAll, _) => {
                    gone = Some(Released { address: START, length: 64 * BLOCK_SIZE });
                    model.clear();
                }
                _ => {}
            }
            prop_assert_eq!(released, gone);
            prop_assert_eq!(area.plugged(), model.len() as u64 * BLOCK_SIZE);
            let mut copy = MemArea::new(START, 64 * BLOCK_SIZE).unwrap();
            prop_assert!(copy.request(area.requested()) && copy.plug_runs(&area.runs()));
            prop_assert_eq!(&copy, &area);
        }
    }
}
