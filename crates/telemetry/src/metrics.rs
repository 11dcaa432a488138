//! Numbers to publish, by name and labels.

use serde::Serialize;

use crate::{Node, Tree};

/// The labels of one number, in order.
pub type Labels = Vec<(String, String)>;

/// How a number behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It only grows, from 0 at the start of the machine.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// One number.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// What tells it from the others of its family.
    pub labels: Labels,
    /// The number. Counters above 2^53 lose their last digits, as they do in Prometheus.
    pub value: f64,
}

/// Numbers of one name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Family {
    /// The name, as Prometheus wants it: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
    pub name: String,
    /// What it counts.
    pub help: String,
    /// How it behaves.
    pub kind: Kind,
    /// The numbers.
    pub samples: Vec<Sample>,
}

/// A snapshot of numbers, to be encoded.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Metrics {
    families: Vec<Family>,
}

impl Metrics {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a number that only grows. By convention its name ends in `_total`.
    pub fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: u64) {
        self.add(name, help, Kind::Counter, labels, value as f64);
    }

    /// Adds a number that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.add(name, help, Kind::Gauge, labels, value);
    }

    /// Adds every counter and gauge of `tree`, by their names after `prefix`: `reads` after
    /// `vmmkit_blk` is `vmmkit_blk_reads_total`. `whose` ends their descriptions.
    pub fn tree(&mut self, prefix: &str, whose: &str, labels: &[(&str, &str)], tree: &Tree) {
        for (name, node) in tree.entries() {
            let full = allowed(&format!("{prefix}_{name}"));
            let help = format!("{} {whose}", name.replace('_', " "));
            match node {
                Node::Counter(value) => {
                    self.counter(&format!("{full}_total"), &help, labels, *value);
                }
                Node::Gauge(value) => self.gauge(&full, &help, labels, *value as f64),
                Node::Tree(tree) => self.tree(&full, whose, labels, tree),
                _ => {}
            }
        }
    }

    /// The families, in the order of their first number.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// The number of this name and these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let family = self.families.iter().find(|family| family.name == name)?;
        let sample = family.samples.iter().find(|s| same(&s.labels, labels))?;
        Some(sample.value)
    }

    /// As the JSON objects of a file of lines: `{"name":...,"kind":...,"labels":{...},"value":...}`.
    pub fn to_json_lines(&self) -> String {
        let mut text = String::new();
        for family in &self.families {
            for sample in &family.samples {
                let labels = sample.labels.iter().map(|(name, value)| {
                    let value = serde_json::Value::from(value.as_str());
                    (name.clone(), value)
                });
                let line = serde_json::json!({
                    "name": family.name,
                    "kind": family.kind,
                    "labels": labels.collect::<serde_json::Map<_, _>>(),
                    "value": number(sample.value),
                });
                text.push_str(&line.to_string());
                text.push('\n');
            }
        }
        text
    }

    fn add(&mut self, name: &str, help: &str, kind: Kind, labels: &[(&str, &str)], value: f64) {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let sample = Sample {
            labels: labels.collect(),
            value,
        };
        match self.families.iter_mut().find(|family| family.name == name) {
            Some(family) => family.samples.push(sample),
            None => self.families.push(Family {
                name: name.to_owned(),
                help: help.to_owned(),
                kind,
                samples: vec![sample],
            }),
        }
    }
}

/// A name as Prometheus allows it.
fn allowed(name: &str) -> String {
    let one = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(one).collect()
}

/// A whole number without a point.
fn number(value: f64) -> serde_json::Value {
    match value.fract() == 0.0 && (0.0..=9e15).contains(&value) {
        true => serde_json::Value::from(value as u64),
        false => serde_json::Value::from(value),
    }
}

fn same(labels: &Labels, wanted: &[(&str, &str)]) -> bool {
    let labels = labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    labels.eq(wanted.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_one_name_are_one_family() {
        let mut metrics = Metrics::new();
        metrics.counter("exits_total", "Exits", &[("vcpu", "0")], 3);
        metrics.gauge("depth", "Depth", &[], 0.5);
        metrics.counter("exits_total", "Exits", &[("vcpu", "1")], 4);
        assert_eq!(metrics.families().len(), 2);
        assert_eq!(metrics.value("exits_total", &[("vcpu", "1")]), Some(4.0));
        assert_eq!(metrics.value("exits_total", &[]), None);
    }

    #[test]
    fn a_tree_gives_its_counters_and_gauges() {
        let received = Tree::new().counter("packets", 3u64);
        let tree = Tree::new()
            .tree("received", received)
            .gauge("open files", 2u64)
            .hex("status", 15u64);
        let mut metrics = Metrics::new();
        metrics.tree(
            "vmmkit_net",
            "of a net device",
            &[("device", "net0")],
            &tree,
        );
        let value = |name| metrics.value(name, &[("device", "net0")]);
        assert_eq!(value("vmmkit_net_received_packets_total"), Some(3.0));
        assert_eq!(value("vmmkit_net_open_files"), Some(2.0));
        assert_eq!(metrics.families().len(), 2);
    }

    #[test]
    fn each_number_is_a_line_of_json() {
        let mut metrics = Metrics::new();
        metrics.counter("exits_total", "Exits", &[("device", "a\"b")], 3);
        metrics.gauge("seconds", "Time", &[], 0.5);
        let lines: Vec<serde_json::Value> = metrics
            .to_json_lines()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["labels"]["device"], "a\"b");
        assert_eq!(lines[0]["value"], 3);
        assert_eq!(lines[1]["kind"], "gauge");
        assert_eq!(lines[1]["value"], 0.5);
    }
}
