//! `metrics`: the numbers of several guests as one page.

use std::collections::HashSet;
use std::process::ExitCode;

use super::ask::{self, each};
use super::nobody;
use super::options::Whom;
use crate::failure::Failure;
use crate::generate;

/// Writes the metrics of guests, each family once.
pub(super) fn metrics(whom: &Whom) -> Result<ExitCode, Failure> {
    if whom.json {
        return Err(Failure::usage(
            "--json: metrics are written as Prometheus reads them",
            "leave it out; `vmmkit run --metrics PATH.jsonl` writes lines of JSON",
        ));
    }
    let targets = whom.targets()?;
    if targets.is_empty() {
        return nobody(false);
    }
    let answers = each(&targets, |target| {
        target.client().text("GET", "/v1/metrics", None)
    });
    let mut page = Page::default();
    let code = ask::sort(&targets, answers, |text| page.add(&text));
    generate::write(page.text().as_bytes())?;
    Ok(code)
}

/// A page in Prometheus' text format, which wants all numbers of a family in one group ("Exposition
/// formats", grouping and sorting).
#[derive(Debug, Default)]
struct Page {
    families: Vec<Family>,
    seen: HashSet<String>,
}

#[derive(Debug)]
struct Family {
    name: String,
    /// `# HELP` and `# TYPE`, of the guest that had it first.
    head: Vec<String>,
    samples: Vec<String>,
}

impl Page {
    /// Adds the page of one guest. A number that is there already is left out: it would make the whole page
    /// invalid.
    fn add(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix("# ") {
                let name = comment.split(' ').nth(1).unwrap_or_default();
                let family = self.family(name);
                if family.samples.is_empty() && family.head.len() < 2 {
                    family.head.push(line.to_owned());
                }
                continue;
            }
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let series = line.rsplit_once(' ').map_or(line, |(series, _)| series);
            if self.seen.insert(series.to_owned()) {
                self.family(name).samples.push(line.to_owned());
            }
        }
    }

    fn family(&mut self, name: &str) -> &mut Family {
        let place = self.families.iter().position(|family| family.name == name);
        let place = place.unwrap_or_else(|| {
            self.families.push(Family {
                name: name.to_owned(),
                head: Vec::new(),
                samples: Vec::new(),
            });
            self.families.len() - 1
        });
        // It was found there, or has just been put there.
        #[expect(clippy::indexing_slicing, reason = "the index is that of an element")]
        &mut self.families[place]
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let families = self
            .families
            .iter()
            .filter(|family| !family.samples.is_empty());
        for line in families.flat_map(|family| family.head.iter().chain(&family.samples)) {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_of_several_guests_is_one_group() {
        let mut page = Page::default();
        page.add("# HELP a A\n# TYPE a gauge\na{name=\"x\"} 1\n# HELP b B\n# TYPE b gauge\nb{name=\"x\"} 2\n");
        page.add("# HELP b B\n# TYPE b gauge\nb{name=\"y z\"} 3\n# HELP a A\n# TYPE a gauge\na{name=\"y z\"} 4\n");
        page.add("a{name=\"x\"} 9\n");
        assert_eq!(
            page.text(),
            "# HELP a A\n# TYPE a gauge\na{name=\"x\"} 1\na{name=\"y z\"} 4\n\
             # HELP b B\n# TYPE b gauge\nb{name=\"x\"} 2\nb{name=\"y z\"} 3\n"
        );
    }
}
