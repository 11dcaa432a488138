//! A snapshot reaches the recorder of an embedder: names, labels, kinds, descriptions and numbers.
#![expect(clippy::panic, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString,
    Unit,
};
use parking_lot::Mutex;
use vmmkit_telemetry::Metrics;

type Seen = Arc<Mutex<BTreeMap<String, String>>>;

/// Keeps what it is told, as text.
#[derive(Clone, Debug, Default)]
struct Written(Seen);

impl Written {
    fn write(&self, what: String, value: String) {
        self.0.lock().insert(what, value);
    }

    fn of(&self, kind: &str, key: &Key) -> Arc<One> {
        let labels = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()));
        let labels: Vec<_> = labels.collect();
        let what = format!("{kind} {}{{{}}}", key.name(), labels.join(","));
        Arc::new(One(self.clone(), what))
    }
}

/// One number.
#[derive(Debug)]
struct One(Written, String);

impl CounterFn for One {
    fn increment(&self, _: u64) {
        panic!("a snapshot sets");
    }
    fn absolute(&self, value: u64) {
        self.0.write(self.1.clone(), value.to_string());
    }
}

impl GaugeFn for One {
    fn increment(&self, _: f64) {
        panic!("a snapshot sets");
    }
    fn decrement(&self, _: f64) {
        panic!("a snapshot sets");
    }
    fn set(&self, value: f64) {
        self.0.write(self.1.clone(), value.to_string());
    }
}

impl Recorder for Written {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, text: SharedString) {
        self.write(format!("help {}", name.as_str()), text.to_string());
    }
    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, text: SharedString) {
        self.write(format!("help {}", name.as_str()), text.to_string());
    }
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of("counter", key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.of("gauge", key))
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

fn snapshot(exits: u64) -> Metrics {
    let mut metrics = Metrics::new();
    let labels = [("vcpu", "0"), ("reason", "port")];
    metrics.counter("vmmkit_exits_total", "Exits", &labels, exits);
    metrics.gauge("vmmkit_depth", "Depth", &[], 0.5);
    metrics
}

#[test]
fn a_recorder_gets_every_number_as_it_is_now() {
    let recorder = Written::default();
    metrics::with_local_recorder(&recorder, || {
        snapshot(3).record();
        snapshot(7).record();
    });
    let seen = recorder.0.lock().clone();
    let expected = [
        ("counter vmmkit_exits_total{vcpu=0,reason=port}", "7"),
        ("gauge vmmkit_depth{}", "0.5"),
        ("help vmmkit_depth", "Depth"),
        ("help vmmkit_exits_total", "Exits"),
    ];
    let expected = expected.map(|(what, value)| (what.to_owned(), value.to_owned()));
    assert_eq!(seen, BTreeMap::from(expected));
}

#[test]
fn without_a_recorder_nothing_happens() {
    snapshot(1).record();
}
