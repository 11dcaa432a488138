//! Numbers to publish, by name and labels.

#[cfg(feature = "json")]
use serde::Serialize;

use crate::{Node, Tree};

/// The labels of one number, in order.
pub type Labels = Vec<(String, String)>;

/// How a number behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize))]
#[cfg_attr(feature = "json", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Kind {
    /// It only grows, from 0 at the start of the machine.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// One number.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize))]
pub struct Sample {
    /// The labels that tell it from the others of its family.
    pub labels: Labels,
    /// The number. Counters above 2^53 lose their last digits, as they do in Prometheus.
    pub value: f64,
}

/// Numbers of one name.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize))]
pub struct Family {
    /// The name, as Prometheus wants it: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
    pub name: String,
    /// Its description.
    pub help: String,
    /// How it behaves.
    pub kind: Kind,
    /// The numbers.
    pub samples: Vec<Sample>,
}

/// A snapshot of numbers, to be encoded.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize))]
#[cfg_attr(feature = "json", serde(transparent))]
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

    /// The same of a number with a fraction, such as seconds.
    pub fn counter_of(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.add(name, help, Kind::Counter, labels, value);
    }

    /// Adds a number that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.add(name, help, Kind::Gauge, labels, value);
    }

    /// Adds every counter and gauge of `tree`, by their names after `prefix`: `reads` after `blk` is
    /// `blk_reads_total`. `whose` ends their descriptions, such as "of a blk device".
    pub fn tree(&mut self, prefix: &str, whose: &str, labels: &[(&str, &str)], tree: &Tree) {
        self.branch(prefix, "", whose, labels, tree);
    }

    /// The same for a part of a tree, whose names are `path` in the descriptions.
    fn branch(
        &mut self,
        prefix: &str,
        path: &str,
        whose: &str,
        labels: &[(&str, &str)],
        tree: &Tree,
    ) {
        for (name, node) in tree.entries() {
            let full = allowed(&format!("{prefix}_{name}"));
            let words = format!("{path}{}", name.replace('_', " "));
            match node {
                Node::Counter(value) => {
                    let help = format!("Total {words} {whose}");
                    self.counter(&format!("{full}_total"), &help, labels, *value);
                }
                Node::Gauge(value) => {
                    let help = format!("Present {words} {whose}");
                    self.gauge(&full, &help, labels, *value as f64);
                }
                Node::Tree(tree) => self.branch(&full, &format!("{words} "), whose, labels, tree),
                _ => {}
            }
        }
    }

    /// Describes the family `name`, if it is there, by `help` instead of the words that its numbers came
    /// with.
    pub fn describe(&mut self, name: &str, help: &str) {
        let mut families = self.families.iter_mut();
        if let Some(family) = families.find(|family| family.name == name) {
            help.clone_into(&mut family.help);
        }
    }

    /// These numbers as one program publishes them beside others: each name begins with `prefix` and `_`,
    /// and each number has `labels` before its own. Labels that a number has already stay as they are.
    #[must_use]
    pub fn published(mut self, prefix: &str, labels: &[(&str, &str)]) -> Self {
        for family in &mut self.families {
            family.name = allowed(&format!("{prefix}_{}", family.name));
            for sample in &mut family.samples {
                let own = std::mem::take(&mut sample.labels);
                let is_new =
                    |(name, _): &&(&str, &str)| !own.iter().any(|(other, _)| other == name);
                let new = labels.iter().filter(is_new);
                sample.labels = new
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect();
                sample.labels.extend(own);
            }
        }
        self
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
    #[cfg(feature = "json")]
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
#[cfg(feature = "json")]
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
        metrics.tree("net", "of a net device", &[("device", "net0")], &tree);
        let value = |name| metrics.value(name, &[("device", "net0")]);
        assert_eq!(value("net_received_packets_total"), Some(3.0));
        assert_eq!(value("net_open_files"), Some(2.0));
        let help: Vec<&str> = metrics.families().iter().map(|f| f.help.as_str()).collect();
        let expected = [
            "Total received packets of a net device",
            "Present open files of a net device",
        ];
        assert_eq!(help, expected);
        metrics.describe("net_open_files", "Files");
        metrics.describe("none", "None");
        assert_eq!(metrics.families()[1].help, "Files");
    }

    #[test]
    fn what_is_published_has_the_name_of_its_program_and_labels_of_its_own() {
        let mut metrics = Metrics::new();
        metrics.gauge("depth", "Depth", &[("queue", "0")], 1.0);
        metrics.gauge("depth", "Depth", &[("name", "own")], 2.0);
        let metrics = metrics.published("my_vmm", &[("name", "web"), ("rack", "7")]);
        let value = |labels: &[(&str, &str)]| metrics.value("my_vmm_depth", labels);
        assert_eq!(
            value(&[("name", "web"), ("rack", "7"), ("queue", "0")]),
            Some(1.0)
        );
        assert_eq!(value(&[("rack", "7"), ("name", "own")]), Some(2.0));
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
