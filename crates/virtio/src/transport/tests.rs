mod saved;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use vmmkit_device_bus::{Lifecycle, SaveState, SavedState, StateError, StateForm};
use vmmkit_host_io::{ThreadRole, ThreadSpec};

use crate::fake::hostile::torture_by;
use crate::fake::{Driver, DriverError, Options, TransportKind};
use crate::spec::{feature, mmio, status};
use crate::{
    ActivateError, Activation, Active, Chain, ConfigChange, Context, Device, DeviceKind,
    DeviceThreads, Engine, Signal,
};

/// Writes back what it reads, on two queues; its configuration is one number.
#[derive(Default)]
pub(super) struct Echo {
    pub(super) number: AtomicU64,
    pub(super) change: Mutex<Option<ConfigChange>>,
    pub(super) activations: AtomicU64,
    resets: AtomicU64,
    /// The threads that started and reset it.
    led_by: Mutex<Vec<String>>,
}

impl Echo {
    fn note_thread(&self) {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        self.led_by.lock().push(name);
    }
}

impl Device for Echo {
    fn kind(&self) -> DeviceKind {
        DeviceKind::ENTROPY
    }
    fn features(&self) -> u64 {
        1 << 3
    }
    fn queue_sizes(&self) -> &[u16] {
        &[64, 16]
    }
    fn read_config(&self, offset: usize, bytes: &mut [u8]) {
        let number = self.number.load(Ordering::SeqCst).to_le_bytes();
        for (byte, value) in bytes.iter_mut().zip(number.iter().skip(offset)) {
            *byte = *value;
        }
    }
    fn write_config(&self, _offset: usize, bytes: &[u8]) {
        self.number.store(bytes.len() as u64, Ordering::SeqCst);
    }
    fn connect(&self, change: ConfigChange) {
        *self.change.lock() = Some(change);
    }
    fn activate(&self, activation: Activation) -> Result<Box<dyn Active>, ActivateError> {
        self.activations.fetch_add(1, Ordering::SeqCst);
        self.note_thread();
        activation.on_threads(vec![
            (vec![0], Box::new(EchoEngine(Chain::new()))),
            (vec![1], Box::new(EchoEngine(Chain::new()))),
        ])
    }
    fn reset(&self) {
        self.note_thread();
        self.resets.fetch_add(1, Ordering::SeqCst);
    }
    fn state(&self) -> Option<&dyn SaveState> {
        Some(self)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EchoForm {
    number: u64,
}

impl StateForm for EchoForm {
    const KIND: &'static str = "echo";
    const VERSION: u32 = 1;
}

impl SaveState for Echo {
    fn save_state(&self) -> Result<SavedState, StateError> {
        let number = self.number.load(Ordering::SeqCst);
        SavedState::new(&EchoForm { number })
    }
    fn restore_state(&self, saved: &SavedState) -> Result<(), StateError> {
        let EchoForm { number } = saved.read()?;
        self.number.store(number, Ordering::SeqCst);
        Ok(())
    }
}

struct EchoEngine(Chain);

impl Engine for EchoEngine {
    fn kicked(&mut self, context: &mut Context, index: u16) {
        let Some(queue) = context.queues.get_mut(index) else {
            return;
        };
        while queue.pop(&mut self.0) {
            let mut bytes = vec![0; self.0.readable_bytes().min(1 << 16) as usize];
            self.0.reader(queue.ram()).read(&mut bytes);
            assert_ne!(bytes, b"panic", "asked to");
            let mut writer = self.0.writer(queue.ram());
            writer.write(&bytes);
            let written = writer.written();
            queue.complete(&self.0, written);
        }
        queue.publish();
    }
}

const BOTH: [TransportKind; 2] = [TransportKind::Mmio, TransportKind::Pci];

fn options(transport: TransportKind) -> Options {
    Options {
        transport,
        ..Options::default()
    }
}

fn driver(transport: TransportKind) -> (Arc<Echo>, Driver) {
    let echo = Arc::new(Echo::default());
    let driver = Driver::start_with(echo.clone(), &options(transport));
    (echo, driver.unwrap())
}

#[test]
fn requests_are_answered_on_every_queue_with_and_without_event_idx() {
    for transport in BOTH {
        for features in [u64::MAX, 0] {
            let options = Options {
                features,
                ..options(transport)
            };
            let mut driver = Driver::start_with(Arc::new(Echo::default()), &options).unwrap();
            for round in 0..200_u32 {
                let text = round.to_le_bytes();
                let answer = driver.request(0, &[b"ab", &text], &[3, 100]).unwrap();
                assert_eq!(answer, [b"ab", &text[..]].concat());
                let answer = driver.request(1, &[&text], &[2]).unwrap();
                assert_eq!(answer, text[..2]);
            }
        }
    }
}

#[test]
fn a_batch_takes_fewer_kicks_and_interrupts_than_chains() {
    for transport in BOTH {
        let (_, mut driver) = driver(transport);
        let before = driver.interrupts();
        for _ in 0..32 {
            driver.add(0, &[b"x"], &[1]).unwrap();
        }
        driver.kick(0);
        for _ in 0..32 {
            driver.wait(0).unwrap();
        }
        assert!(driver.interrupts() - before < 32);
    }
}

#[test]
fn the_registers_of_mmio_say_what_they_must() {
    let (_, driver) = driver(TransportKind::Mmio);
    assert_eq!(driver.read(mmio::MAGIC_VALUE).to_le_bytes(), *b"virt");
    assert_eq!(driver.read(mmio::VERSION), 2);
    assert_eq!(driver.read(mmio::DEVICE_ID), 4);
    assert_eq!(driver.read(mmio::VENDOR_ID).to_le_bytes(), *b"VMMK");
    let queue_features = feature::EVENT_IDX | feature::INDIRECT_DESC | feature::RING_RESET;
    assert_eq!(
        driver.offered_features(),
        feature::VERSION_1 | queue_features | 1 << 3
    );
    driver.write(mmio::QUEUE_SEL, 1);
    assert_eq!(driver.read(mmio::QUEUE_SIZE_MAX), 16);
    assert_eq!(driver.read(mmio::QUEUE_READY), 1);
    driver.write(mmio::QUEUE_SEL, 2);
    assert_eq!(driver.read(mmio::QUEUE_SIZE_MAX), 0);
    assert_eq!(driver.read(mmio::SHM_LEN_LOW), u32::MAX);
}

/// Has queues that another process serves, badly.
struct Elsewhere;

impl Device for Elsewhere {
    fn kind(&self) -> DeviceKind {
        DeviceKind::ENTROPY
    }
    fn queue_features(&self) -> u64 {
        feature::EVENT_IDX
    }
    fn queue_sizes(&self) -> &[u16] {
        &[16]
    }
    fn activate(&self, activation: Activation) -> Result<Box<dyn Active>, ActivateError> {
        for queue in activation.queues.iter() {
            queue.interrupt().signal();
        }
        Err(ActivateError::MissingQueue(1))
    }
}

#[test]
fn a_device_may_have_fewer_features_of_queues_and_interrupt_without_using_a_buffer() {
    let options = options(TransportKind::Mmio);
    let mut driver = Driver::attach(Arc::new(Elsewhere), &options).unwrap();
    let offered = feature::EVENT_IDX | feature::VERSION_1;
    assert_eq!(driver.offered_features(), offered);
    driver.initialise(&options).unwrap_err();
    let causes = mmio::INT_VRING | mmio::INT_CONFIG;
    assert_eq!(driver.read(mmio::INTERRUPT_STATUS), causes);
}

#[test]
fn features_must_be_offered_and_include_version_1() {
    for transport in BOTH {
        for taken in [0, feature::VERSION_1 | 1 << 50] {
            let driver = Driver::attach(Arc::new(Echo::default()), &options(transport)).unwrap();
            driver.write(mmio::STATUS, 1);
            driver.write(mmio::STATUS, 3);
            for half in 0..2 {
                driver.write(mmio::DRIVER_FEATURES_SEL, half);
                driver.write(mmio::DRIVER_FEATURES, (taken >> (32 * half)) as u32);
            }
            driver.write(mmio::STATUS, 11);
            assert_eq!(driver.status(), 3, "{taken:#x}");
            // And without FEATURES_OK there is no DRIVER_OK.
            driver.write(mmio::STATUS, 7);
            assert_eq!(driver.status(), 3);
        }
    }
}

#[test]
fn a_broken_ring_needs_a_reset_and_works_after_it() {
    for transport in BOTH {
        let (echo, mut driver) = driver(transport);
        let layout = driver.layout(0);
        driver.poke(layout.available + 2, &1000_u16.to_le_bytes());
        driver.write(mmio::QUEUE_NOTIFY, 0);
        let error = driver.wait(0).unwrap_err();
        assert!(
            matches!(&error, DriverError::NeedsReset(reason) if reason.contains("1000")),
            "{error}"
        );
        assert_eq!(driver.transport().transport().fault().count(), 1);
        assert_ne!(driver.read(mmio::INTERRUPT_STATUS) & mmio::INT_CONFIG, 0);
        driver.initialise(&options(transport)).unwrap();
        assert_ne!(echo.resets.load(Ordering::SeqCst), 0);
        assert_eq!(driver.status() & status::DEVICE_NEEDS_RESET, 0);
        assert_eq!(driver.request(0, &[b"ok"], &[2]).unwrap(), b"ok");
    }
}

#[test]
fn an_engine_that_panics_needs_a_reset_and_no_more() {
    for transport in BOTH {
        let (_, mut driver) = driver(transport);
        let error = driver.request(0, &[b"panic"], &[2]).unwrap_err();
        assert!(error.to_string().contains("asked to"), "{error}");
        driver.initialise(&options(transport)).unwrap();
        assert_eq!(driver.request(1, &[b"ok"], &[2]).unwrap(), b"ok");
    }
}

#[test]
fn a_queue_can_be_reset_alone() {
    for transport in BOTH {
        let (_, mut driver) = driver(transport);
        driver.request(0, &[b"a"], &[1]).unwrap();
        driver.request(1, &[b"b"], &[1]).unwrap();
        driver.reset_queue(0);
        assert_eq!(driver.request(0, &[b"c"], &[1]).unwrap(), b"c");
        assert_eq!(driver.request(1, &[b"d"], &[1]).unwrap(), b"d");
    }
}

#[test]
fn a_change_of_the_configuration_is_told() {
    for transport in BOTH {
        let (echo, driver) = driver(transport);
        let (before, generation) = (driver.interrupts(), driver.read(mmio::CONFIG_GENERATION));
        echo.number.store(0x1234, Ordering::SeqCst);
        echo.change.lock().as_ref().unwrap().notify();
        assert_eq!(driver.interrupts(), before + 1);
        assert_ne!(driver.read(mmio::CONFIG_GENERATION), generation);
        assert_eq!(driver.read(mmio::INTERRUPT_STATUS), mmio::INT_CONFIG);
        driver.write(mmio::INTERRUPT_ACK, mmio::INT_CONFIG);
        assert_eq!(driver.read(mmio::INTERRUPT_STATUS), 0);
        assert_eq!(driver.config::<2>(0), [0x34, 0x12]);
        // Beyond its end there are zeroes.
        assert_eq!(driver.config::<4>(7), [0; 4]);
        driver.set_config(0, &[1, 2, 3]);
        assert_eq!(driver.config::<1>(0), [3]);
    }
}

#[test]
fn a_paused_device_answers_only_when_it_is_resumed() {
    for transport in BOTH {
        let (_, mut driver) = driver(transport);
        driver.transport().pause();
        driver.transport().wait_paused();
        driver.add(0, &[b"x"], &[1]).unwrap();
        driver.kick(0);
        let none = driver.wait_for(0, Duration::from_millis(50)).unwrap();
        assert_eq!(none, None);
        driver.transport().resume();
        assert_eq!(driver.wait(0).unwrap().1, b"x");
    }
}

#[test]
fn a_device_goes_on_elsewhere_from_what_was_saved() {
    for transport in BOTH {
        let (echo, mut driver) = driver(transport);
        echo.number.store(77, Ordering::SeqCst);
        for _ in 0..100 {
            driver.request(0, &[b"before"], &[6]).unwrap();
        }
        let other = Arc::new(Echo::default());
        let state = driver.move_to(other.clone()).unwrap();
        assert_eq!(other.number.load(Ordering::SeqCst), 77);
        assert_eq!(driver.request(0, &[b"after"], &[5]).unwrap(), b"after");
        assert_eq!(driver.request(1, &[b"too"], &[3]).unwrap(), b"too");

        for (good, bad, reason) in [
            (
                r#""device_id":4"#,
                r#""device_id":1"#,
                "transport.device_id 1: ",
            ),
            (r#""status":15"#, r#""status":7"#, "transport.status 0x7: "),
            (
                r#""status":15"#,
                r#""status":79"#,
                "transport.status 0x4f: ",
            ),
            (
                r#""driver_features":"#,
                r#""driver_features":1"#,
                "transport.driver_features ",
            ),
            (r#""queues":["#, r#""queues":[],"gone":["#, "malformed"),
            (r#""size":"#, r#""size":9"#, "transport.queues[0].size 9"),
            (
                r#""descriptors":"#,
                r#""descriptors":99999999999"#,
                "transport.queues[0]: ",
            ),
            (
                r#""number":77"#,
                r#""number":-7"#,
                "transport.device.number -7: ",
            ),
            (
                r#""kind":"echo""#,
                r#""kind":"e""#,
                "transport.device.kind e: ",
            ),
        ] {
            let json = state.to_json();
            assert!(json.contains(good), "{good}: {json}");
            let bad = SavedState::from_json(json.replace(good, bad).as_bytes()).unwrap();
            let answer = driver.transport().restore(&bad);
            let error = answer.expect_err(reason).to_string();
            let name = error
                .strip_prefix("entropy0: ")
                .or(error.strip_prefix("rng0: "));
            assert!(name.is_some_and(|error| error.contains(reason)), "{error}");
        }
    }
}

#[test]
fn a_hostile_driver_is_survived() {
    for transport in BOTH {
        let echo: Arc<dyn Device> = Arc::new(Echo::default());
        let survival = torture_by(transport, &echo, &Options::default().ram, 7, 300).unwrap();
        assert!(survival.needed_reset > 20, "{transport:?}: {survival:?}");
        assert!(survival.went_on > 20, "{transport:?}: {survival:?}");
    }
}

#[test]
fn a_work_thread_starts_and_resets_the_device_on_behalf_of_its_callers() {
    for kind in [TransportKind::Mmio, TransportKind::Pci] {
        let (echo, options) = (
            Arc::new(Echo::default()),
            Options {
                transport: kind,
                ..Options::default()
            },
        );
        let threads = DeviceThreads::default();
        threads
            .work()
            .start(ThreadSpec::new(ThreadRole::Helper, "works"))
            .unwrap();
        let mut driver = Driver::attach(echo.clone(), &options).unwrap();
        driver.transport().transport().use_threads(&threads);
        driver.initialise(&options).unwrap();
        assert_eq!(driver.request(0, &[b"ok"], &[2]).unwrap(), b"ok");
        // A queue's reset and a held device go the same way, and everything works afterwards.
        driver.reset_queue(1);
        assert_eq!(driver.request(1, &[b"again"], &[5]).unwrap(), b"again");
        driver.transport().transport().hold(true);
        driver.transport().transport().hold(false);
        assert_eq!(driver.request(0, &[b"on"], &[2]).unwrap(), b"on");
        driver.initialise(&options).unwrap();
        let led_by = std::mem::take(&mut *echo.led_by.lock());
        assert!(led_by.len() >= 3, "{led_by:?}");
        assert!(led_by.iter().all(|name| name == "works"), "{led_by:?}");
    }
}
