//! What Tidegate says at `/metrics`, in Prometheus' text format, as numbers.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::command::Invocation;

/// One look at all counters.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    text: String,
    samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Fetches `http://ADDRESS/metrics` from within the namespace `netns`, by curl.
    pub fn fetch(netns: &str, address: &str) -> Result<Metrics> {
        let curl = Invocation::new("curl").netns(netns).favoured().words("--silent --show-error --fail --max-time 2");
        Metrics::parse(&curl.arg(format!("http://{address}/metrics")).run()?)
    }

    /// Reads the text format; an error names the line that is not a sample.
    pub fn parse(text: &str) -> Result<Metrics> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines.map(|line| sample(line).with_context(|| format!("not a sample: {line:?}")));
        Ok(Metrics { text: text.to_owned(), samples: samples.collect::<Result<_>>()? })
    }

    /// The text as it came.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The values of every sample of `name` whose labels are, among others, `labels`; in the order of the text.
    pub fn all(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        self.matching(name, labels).map(|sample| sample.value).collect()
    }

    /// The sum of the same; zero if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// The values that the label `label` has in samples of `name`, each once, sorted.
    pub fn values_of(&self, name: &str, label: &str) -> Vec<String> {
        let mut values: Vec<_> =
            self.matching(name, &[]).filter_map(|sample| sample.labels.get(label).cloned()).collect();
        values.sort();
        values.dedup();
        values
    }

    fn matching<'a>(&'a self, name: &'a str, labels: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            let fits = |&(label, value): &(&str, &str)| sample.labels.get(label).is_some_and(|is| is == value);
            sample.name == name && labels.iter().all(fits)
        })
    }
}

/// `name{label="value",…} 12`, perhaps with a time behind it. Label values of ours hold neither quotes nor commas.
fn sample(line: &str) -> Option<Sample> {
    let (head, rest) = match line.split_once('}') {
        Some((head, rest)) => (head, rest),
        None => line.split_once(' ')?,
    };
    let (name, inside) = head.split_once('{').unwrap_or((head, ""));
    let pair = |pair: &str| {
        let (label, value) = pair.split_once('=')?;
        Some((label.trim().to_owned(), value.trim().trim_matches('"').to_owned()))
    };
    let labels = inside.split(',').filter(|part| !part.trim().is_empty()).map(pair).collect::<Option<_>>()?;
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.trim().to_owned(), labels, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let text = "# HELP a_total Frames.\n# TYPE a_total counter\na_total{wire=\"w\",port=\"in\"} 3\n\
                    a_total{wire=\"w\",port=\"out\"} 4 1700000000\nb 1e3\nc_bucket{le=\"+Inf\"} 2\n";
        let metrics = Metrics::parse(text).unwrap();
        assert_eq!(metrics.all("a_total", &[]), [3.0, 4.0]);
        assert_eq!(metrics.sum("a_total", &[("port", "out"), ("wire", "w")]), 4.0);
        assert_eq!(metrics.sum("a_total", &[("port", "none")]), 0.0);
        assert_eq!(metrics.sum("b", &[]), 1000.0);
        assert_eq!(metrics.values_of("a_total", "port"), ["in", "out"]);
        assert!(Metrics::parse("no sample").is_err());
    }
}
