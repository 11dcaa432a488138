//! The metrics: one JSON object a line, whose numbers count since the line before.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::clock;
use crate::sink::Sink;

/// How often a line is written without being asked for.
pub const INTERVAL: Duration = Duration::from_secs(60);

/// The metrics of a process.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    sink: Option<Sink>,
    /// The requests so far, by group and name.
    requests: BTreeMap<(&'static str, String), u64>,
    /// The numbers of the last line, by group and name.
    told: BTreeMap<(String, String), u64>,
    /// Metrics that were not written, by the time of the last line.
    missed: u64,
    starts: [u64; 2],
}

impl Metrics {
    /// Opens the file or FIFO, once.
    ///
    /// # Errors
    /// Why it cannot be, in a sentence.
    pub fn open(&self, path: &str) -> Result<(), String> {
        let mut state = self.0.lock();
        if state.sink.is_some() {
            return Err(
                "The metrics have their file already; they cannot have another.".to_owned(),
            );
        }
        let sink = Sink::open(path);
        let failed = |error| format!("The metrics file cannot be opened: {path}: {error}");
        state.sink = Some(sink.map_err(failed)?);
        Ok(())
    }

    /// The microseconds that the process took to its API, by the wall clock and by the CPU's.
    pub fn started(&self, wall: u64, cpu: u64) {
        self.0.lock().starts = [wall, cpu];
    }

    /// Counts a request: `get_api_requests` and the like, and the name of its path there.
    pub fn count(&self, group: &'static str, name: &str, failed: bool) {
        let mut state = self.0.lock();
        let suffixes = [Some("count"), failed.then_some("fails")];
        for suffix in suffixes.into_iter().flatten() {
            let key = (group, format!("{name}_{suffix}"));
            *state.requests.entry(key).or_default() += 1;
        }
    }

    /// Writes a line: requests, and `counters` by group and name.
    ///
    /// # Errors
    /// A sentence, where there is no file for them.
    pub fn flush(&self, counters: &Value, lost_log_lines: u64) -> Result<(), String> {
        let mut state = self.0.lock();
        if state.sink.is_none() {
            return Err("There is no metrics file: PUT /metrics first.".to_owned());
        }
        let mut line = Map::new();
        let milliseconds = u64::try_from(clock::now().as_millis()).unwrap_or(u64::MAX);
        line.insert("utc_timestamp_ms".to_owned(), json!(milliseconds));
        let [wall, cpu] = state.starts;
        line.insert(
            "api_server".to_owned(),
            json!({"process_startup_time_us": wall, "process_startup_time_cpu_us": cpu}),
        );
        let missed = std::mem::take(&mut state.missed);
        let logger = json!({
            "missed_metrics_count": missed,
            "metrics_fails": 0,
            "missed_log_count": lost_log_lines,
            "log_fails": 0,
        });
        line.insert("logger".to_owned(), logger);
        for group in ["get_api_requests", "patch_api_requests", "put_api_requests"] {
            line.insert(group.to_owned(), json!({}));
        }
        let requests: Vec<_> = state.requests.clone().into_iter().collect();
        for ((group, name), number) in requests {
            state.add(&mut line, group, &name, number);
        }
        let groups = counters.as_object().into_iter().flatten();
        for (group, numbers) in groups {
            for (name, number) in numbers.as_object().into_iter().flatten() {
                let number = number.as_u64().unwrap_or_default();
                state.add(&mut line, group, name, number);
            }
        }
        let line = format!("{}\n", Value::Object(line));
        if let Some(sink) = &mut state.sink {
            sink.add(&line);
            state.missed = sink.take_lost();
        }
        Ok(())
    }
}

impl State {
    /// Adds to `line` how much a number has grown since the line before.
    fn add(&mut self, line: &mut Map<String, Value>, group: &str, name: &str, number: u64) {
        let key = (group.to_owned(), name.to_owned());
        let before = self.told.insert(key, number).unwrap_or_default();
        let grown = json!(number.saturating_sub(before));
        let numbers = line.entry(group).or_insert_with(|| json!({}));
        if let Some(numbers) = numbers.as_object_mut() {
            numbers.insert(name.to_owned(), grown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_since_the_line_before() {
        let metrics = Metrics::default();
        let counters = |reads: u64| json!({"block": {"read_count": reads}});
        assert!(metrics.flush(&counters(0), 0).is_err());
        let path = std::env::temp_dir().join(format!("vmmkit-fc-metrics-{}", std::process::id()));
        metrics.open(path.to_str().unwrap()).unwrap();
        assert!(metrics.open(path.to_str().unwrap()).is_err());
        metrics.count("put_api_requests", "drive", false);
        metrics.count("put_api_requests", "drive", true);
        metrics.flush(&counters(5), 3).unwrap();
        metrics.flush(&counters(7), 0).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let lines: Vec<Value> = lines.collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            lines[0]["put_api_requests"],
            json!({"drive_count": 2, "drive_fails": 1})
        );
        assert_eq!(
            lines[1]["put_api_requests"],
            json!({"drive_count": 0, "drive_fails": 0})
        );
        assert_eq!(lines[0]["block"]["read_count"], 5);
        assert_eq!(lines[1]["block"]["read_count"], 2);
        assert_eq!(lines[0]["logger"]["missed_log_count"], 3);
        assert!(lines[0]["utc_timestamp_ms"].as_u64().unwrap() > 1_700_000_000_000);
    }
}
