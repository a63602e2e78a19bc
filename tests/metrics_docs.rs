//! Holds `docs/metrics.md` to what `/metrics` tells.

use std::collections::BTreeSet;

use tidegate::datapath::report::{EgressReport, IngressReport};
use tidegate::telemetry::account::ProgramAccount;
use tidegate::telemetry::{Account, Snapshot, Times, prometheus};
use tidegate::units::Nanos;

const DOCS: &str = include_str!("../docs/metrics.md");

/// What one quiet wire tells: every series that can exist.
fn text() -> String {
    let (ingress, egress) = (IngressReport::default(), EgressReport::default());
    let mut account = Account::of(&ingress, &egress, &Times::default(), Nanos::ZERO);
    account.mode = Some("generic");
    for port in &mut account.ports {
        port.program = Some(ProgramAccount::default());
    }
    prometheus::text(&Snapshot { seq: 1, seconds: 0.0, wires: vec![account] })
}

/// The metrics with the labels of their series.
fn told() -> BTreeSet<(String, Vec<String>)> {
    let text = text();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let metrics = samples.map(|line| {
        let (name, rest) = line.split_once(['{', ' ']).unwrap();
        let labels = if line.contains('{') { rest.split_once('}').unwrap().0 } else { "" };
        let names = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        let of_histogram = ["_bucket", "_sum", "_count"].into_iter().find_map(|end| name.strip_suffix(end));
        (of_histogram.unwrap_or(name).to_owned(), names.filter(|name| name != "le").collect())
    });
    metrics.collect()
}

#[test]
fn the_docs_list_exactly_the_metrics_and_their_labels() {
    let rows = DOCS.lines().filter(|line| line.starts_with("| `tidegate_"));
    let ticked = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let documented: BTreeSet<_> = rows
        .map(|row| {
            let cells: Vec<_> = row.trim_matches('|').split('|').collect();
            (ticked(cells[0])[0].clone(), ticked(cells[1]))
        })
        .collect();
    assert_eq!(documented, told());
}

#[test]
fn counters_end_in_total_and_gauges_do_not() {
    for line in text().lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
    }
}
