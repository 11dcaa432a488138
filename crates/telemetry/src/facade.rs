//! To the `metrics` facade: a snapshot for whatever recorder an embedder has.

use metrics::{Key, Label, Level, Metadata, Recorder};

use crate::{Family, Kind, Metrics, Sample};

impl Metrics {
    /// Records every number with the recorder that the process has installed, if any. Counters are set
    /// to where they are now, so that it may be called as often as the recorder is read.
    ///
    /// Only with the feature `metrics-facade`.
    pub fn record(&self) {
        metrics::with_recorder(|recorder| self.record_with(recorder));
    }

    /// Records every number with `recorder`.
    ///
    /// Only with the feature `metrics-facade`.
    pub fn record_with(&self, recorder: &dyn Recorder) {
        for family in self.families() {
            describe(recorder, family);
            for sample in &family.samples {
                record(recorder, family, sample);
            }
        }
    }
}

fn describe(recorder: &dyn Recorder, family: &Family) {
    let (name, help) = (family.name.clone().into(), family.help.clone().into());
    match family.kind {
        Kind::Counter => recorder.describe_counter(name, None, help),
        Kind::Gauge => recorder.describe_gauge(name, None, help),
    }
}

/// The target of its metrics, and the module that they are said to be of.
const TARGET: &str = module_path!();

fn record(recorder: &dyn Recorder, family: &Family, sample: &Sample) {
    let metadata = Metadata::new(TARGET, Level::INFO, Some(TARGET));
    let labels = sample.labels.iter();
    let labels = labels.map(|(name, value)| Label::new(name.clone(), value.clone()));
    let key = Key::from_parts(family.name.clone(), labels.collect::<Vec<_>>());
    match family.kind {
        Kind::Counter => {
            let counter = recorder.register_counter(&key, &metadata);
            counter.absolute(sample.value as u64);
        }
        Kind::Gauge => recorder.register_gauge(&key, &metadata).set(sample.value),
    }
}
