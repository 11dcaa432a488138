use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use vmmkit_device_bus::Lifecycle;

use crate::fake::hostile::harass;
use crate::fake::{Driver, Options};
use crate::{
    ActivateError, Activation, Active, Chain, Context, Device, DeviceKind, DeviceThreads, Engine,
};

/// Writes back what it reads, on the shared thread. It knows some words.
#[derive(Default)]
struct Echo {
    /// Engines that there are now.
    engines: Arc<AtomicUsize>,
    /// The thread that answered last: its name, and where it is in /proc.
    answered_by: Arc<Mutex<(String, PathBuf)>>,
}

impl Device for Echo {
    fn kind(&self) -> DeviceKind {
        DeviceKind::ENTROPY
    }
    fn queue_sizes(&self) -> &[u16] {
        &[64, 16]
    }
    fn activate(&self, activation: Activation) -> Result<Box<dyn Active>, ActivateError> {
        self.engines.fetch_add(1, Ordering::SeqCst);
        activation.on_shared_thread(Box::new(EchoEngine {
            chain: Chain::new(),
            engines: self.engines.clone(),
            answered_by: self.answered_by.clone(),
            is_busy: false,
        }))
    }
}

struct EchoEngine {
    chain: Chain,
    engines: Arc<AtomicUsize>,
    answered_by: Arc<Mutex<(String, PathBuf)>>,
    /// It is kicked for ever.
    is_busy: bool,
}

impl Engine for EchoEngine {
    fn kicked(&mut self, context: &mut Context, index: u16) {
        let Some(queue) = context.queues.get_mut(index) else {
            return;
        };
        while queue.pop(&mut self.chain) {
            let mut bytes = vec![0; self.chain.readable_bytes().min(1 << 16) as usize];
            self.chain.reader(queue.ram()).read(&mut bytes);
            assert_ne!(bytes, b"panic", "asked to");
            self.is_busy |= bytes == b"busy";
            *self.answered_by.lock() = this_thread();
            let mut writer = self.chain.writer(queue.ram());
            writer.write(&bytes);
            let written = writer.written();
            queue.complete(&self.chain, written);
        }
        queue.publish();
        if self.is_busy {
            queue.kick().notify();
        }
    }
}

impl Drop for EchoEngine {
    fn drop(&mut self) {
        self.engines.fetch_sub(1, Ordering::SeqCst);
    }
}

fn this_thread() -> (String, PathBuf) {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    (name, fs::read_link("/proc/thread-self").unwrap())
}

fn driver(echo: &Arc<Echo>, shared: &DeviceThreads) -> Driver {
    let mut driver = Driver::attach(echo.clone(), &Options::default()).unwrap();
    driver.transport().transport().use_threads(shared);
    driver.initialise(&Options::default()).unwrap();
    driver
}

fn pair() -> (Driver, Driver, DeviceThreads) {
    let shared = DeviceThreads::default();
    let [first, second] = [(); 2].map(|()| driver(&Arc::default(), &shared));
    (first, second, shared)
}

fn answers(driver: &mut Driver) {
    assert_eq!(driver.request(0, &[b"ok"], &[2]).unwrap(), b"ok");
}

fn members(shared: &DeviceThreads) -> String {
    format!("{shared:?}")
}

#[test]
fn devices_answer_on_one_thread_which_ends_with_the_last_of_them() {
    let shared = DeviceThreads::default();
    let echoes: [Arc<Echo>; 3] = Default::default();
    let drivers = echoes.each_ref().map(|echo| driver(echo, &shared));
    for (mut driver, echo) in drivers.into_iter().zip(&echoes) {
        answers(&mut driver);
        assert_eq!(echo.answered_by.lock().0, "virtio-slow");
        assert_eq!(echo.engines.load(Ordering::SeqCst), 1);
        drop(driver);
        assert_eq!(echo.engines.load(Ordering::SeqCst), 0);
    }
    assert!(members(&shared).contains("members: 0"));
    // And it can be there again.
    answers(&mut driver(&echoes[0], &shared));
}

#[test]
fn one_pauses_and_the_other_goes_on() {
    let (mut first, mut second, _shared) = pair();
    first.transport().pause();
    first.transport().wait_paused();
    first.add(0, &[b"x"], &[1]).unwrap();
    first.kick(0);
    for _ in 0..100 {
        answers(&mut second);
    }
    assert_eq!(first.used(0), None);
    first.transport().resume();
    assert_eq!(first.wait(0).unwrap().1, b"x");
    // Both at once, as a machine does.
    for driver in [&first, &second] {
        driver.transport().pause();
    }
    for driver in [&first, &second] {
        driver.transport().wait_paused();
    }
    for driver in [&mut first, &mut second] {
        driver.transport().resume();
        answers(driver);
    }
}

#[test]
fn one_loses_a_queue_or_is_reset_and_the_other_goes_on() {
    let (mut first, mut second, shared) = pair();
    for _ in 0..20 {
        first.reset_queue(1);
        assert_eq!(first.request(1, &[b"again"], &[5]).unwrap(), b"again");
        answers(&mut second);
        first.initialise(&Options::default()).unwrap();
        answers(&mut second);
        answers(&mut first);
    }
    assert!(members(&shared).contains("members: 2"));
}

#[test]
fn one_that_panics_is_taken_off_and_the_other_goes_on() {
    let (mut first, mut second, _shared) = pair();
    let error = first.request(0, &[b"panic"], &[2]).unwrap_err();
    assert!(error.to_string().contains("asked to"), "{error}");
    answers(&mut second);
    // A pause of what is gone does not wait for it.
    first.transport().pause();
    first.transport().wait_paused();
    first.transport().resume();
    first.initialise(&Options::default()).unwrap();
    answers(&mut first);
    answers(&mut second);
}

#[test]
fn one_that_is_busy_for_ever_does_not_stop_the_other() {
    let (mut first, mut second, _shared) = pair();
    assert_eq!(first.request(0, &[b"busy"], &[4]).unwrap(), b"busy");
    for _ in 0..1000 {
        answers(&mut second);
    }
    second.transport().pause();
    second.transport().wait_paused();
    second.transport().resume();
    first.transport().pause();
    first.transport().wait_paused();
    first.transport().resume();
    answers(&mut first);
    answers(&mut second);
}

#[test]
fn a_hostile_driver_of_one_is_survived_by_the_other() {
    let (mut first, mut second, _shared) = pair();
    let hostile = std::thread::spawn(move || {
        let options = Options {
            queue_size: 16,
            ..Options::default()
        };
        harass(&mut first, options, 3, 200).unwrap()
    });
    while !hostile.is_finished() {
        answers(&mut second);
    }
    let survival = hostile.join().unwrap();
    assert!(survival.needed_reset > 10, "{survival:?}");
    answers(&mut second);
}

#[test]
fn one_is_saved_and_goes_on_elsewhere() {
    let (mut first, mut second, _shared) = pair();
    answers(&mut first);
    first.move_to(Arc::new(Echo::default())).unwrap();
    answers(&mut first);
    answers(&mut second);
}

#[test]
fn a_paused_one_costs_no_time() {
    let (shared, echo) = (DeviceThreads::default(), Arc::new(Echo::default()));
    let mut first = driver(&Arc::default(), &shared);
    let mut second = driver(&echo, &shared);
    assert_eq!(first.request(0, &[b"busy"], &[4]).unwrap(), b"busy");
    first.transport().pause();
    first.transport().wait_paused();
    answers(&mut second);
    // Nothing is ready for the thread any more: it sleeps.
    let stat = Path::new("/proc")
        .join(&echo.answered_by.lock().1)
        .join("stat");
    let deadline = Instant::now() + Duration::from_secs(30);
    while !fs::read_to_string(&stat).unwrap().contains(") S ") {
        assert!(Instant::now() < deadline, "it is awake still");
        std::thread::sleep(Duration::from_millis(1));
    }
    first.transport().resume();
    answers(&mut first);
}
