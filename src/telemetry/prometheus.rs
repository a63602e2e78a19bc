//! A snapshot in Prometheus' text format.
//!
//! Names and units follow Prometheus' conventions: base units, `_total` for what only grows. Every series that can ever
//! exist is there from the start, so that a rate over its first increase is right.

use hdrhistogram::Histogram;
use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::account::{Account, WireState};
use super::snapshot::Snapshot;
use crate::classify::Class;
use crate::datapath::stages::Stages;

/// The content type of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the buckets of histograms of time, in nanoseconds: 1, 2, 5 in every decade from a microsecond to ten seconds.
const BOUNDS: [u64; 22] = {
    let mut bounds = [0; 22];
    let (mut index, mut decade) = (0, 1_000);
    while index < 21 {
        bounds[index] = decade;
        bounds[index + 1] = 2 * decade;
        bounds[index + 2] = 5 * decade;
        (index, decade) = (index + 3, 10 * decade);
    }
    bounds[21] = 10_000_000_000;
    bounds
};

/// The whole snapshot as text.
pub fn text(snapshot: &Snapshot) -> String {
    let mut families = of_the_process(snapshot);
    families.extend(of_wires(&snapshot.wires));
    families.extend(of_ports(&snapshot.wires));
    families.extend(of_classes(&snapshot.wires));
    families.extend(of_times(&snapshot.wires));
    families.retain(|family| !family.get_metric().is_empty());
    // It fails only for families without a name or a metric.
    TextEncoder::new().encode_to_string(&families).unwrap_or_default()
}

fn of_the_process(snapshot: &Snapshot) -> Vec<MetricFamily> {
    let mut build = Family::gauge("tidegate_build_info", "Always 1; the version is in the label.");
    build.add([("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let mut seq = Family::gauge("tidegate_snapshot_seq", "Number of the snapshot that all these figures come from.");
    seq.add([], snapshot.seq as f64);
    let mut uptime = Family::gauge("tidegate_uptime_seconds", "Time since the bridge was started.");
    uptime.add([], snapshot.seconds);
    [build, seq, uptime].map(Family::done).into()
}

fn of_wires(wires: &[Account]) -> Vec<MetricFamily> {
    let mut state = Family::gauge("tidegate_wire_state", "1 for what the wire does now, 0 for everything else.");
    let mut mode =
        Family::gauge("tidegate_wire_mode", "1 for how the kernel moves the wire's frames, which is in the label.");
    let mut place = Family::gauge("tidegate_frames", "Frames of the wire's memory by where they are now.");
    let mut memory = Family::gauge("tidegate_memory_frames", "All frames of the wire's memory.");
    let mut unexplained =
        Family::gauge("tidegate_unexplained_frames", "Frames that no term accounts for; 0 while nothing moves.");
    let mut flows = Family::gauge("tidegate_flows", "Flows in the flow table.");
    for wire in wires {
        let name = ("wire", wire.wire.as_str());
        for known in WireState::ALL {
            state.add([name, ("state", known.name())], f64::from(u8::from(known == wire.state)));
        }
        if let Some(obtained) = wire.mode {
            mode.add([name, ("mode", obtained)], 1.0);
        }
        let balance = &wire.balance;
        let places = [
            ("rings", balance.in_rings),
            ("queued", balance.queued),
            ("in_transmit", balance.in_transmit),
            ("home", wire.memory.home),
        ];
        for (at, count) in places {
            place.add([name, ("place", at)], count as f64);
        }
        memory.add([name], wire.memory.frames as f64);
        unexplained.add([name], balance.unexplained() as f64);
        flows.add([name], wire.flows as f64);
    }

    type Of = fn(&Account) -> u64;
    let counters: [(&str, &str, Of); 12] = [
        ("tidegate_received_frames_total", "Frames received at both ports.", |wire| wire.balance.received),
        ("tidegate_pushed_frames_total", "Frames pushed into the rings between the halves.", |wire| {
            wire.balance.pushed
        }),
        ("tidegate_popped_frames_total", "Frames popped from the rings between the halves.", |wire| {
            wire.balance.popped
        }),
        ("tidegate_submitted_frames_total", "Frames handed to the ports.", |wire| wire.balance.submitted),
        ("tidegate_completed_frames_total", "Frames that the ports are done with.", |wire| wire.balance.completed),
        ("tidegate_abandoned_frames_total", "Frames that a port never began to send.", |wire| wire.balance.abandoned),
        ("tidegate_dropped_frames_total", "Frames dropped, for whatever reason.", |wire| wire.balance.dropped),
        ("tidegate_demoted_frames_total", "Frames that a policer sent with the background class.", |wire| wire.demoted),
        ("tidegate_stalls_total", "Times that a half stood still for too long.", |wire| wire.stalls),
        ("tidegate_flow_hits_total", "Look-ups of flows that found a verdict.", |wire| wire.flow_hits),
        ("tidegate_flow_misses_total", "Look-ups of flows that had to judge.", |wire| wire.flow_misses),
        ("tidegate_flow_records_lost_total", "Records of flows that nobody took in time.", |wire| {
            wire.flow_records_lost
        }),
    ];
    let counters = counters.map(|(name, help, count)| {
        let mut family = Family::counter(name, help);
        wires.iter().for_each(|wire| family.add([("wire", wire.wire.as_str())], count(wire) as f64));
        family.done()
    });
    [state, mode, place, memory, unexplained, flows].map(Family::done).into_iter().chain(counters).collect()
}

fn of_ports(wires: &[Account]) -> Vec<MetricFamily> {
    let mut frames = Family::counter("tidegate_port_received_frames_total", "Frames received, by port.");
    let mut bytes = Family::counter("tidegate_port_received_bytes_total", "Bytes received, by port.");
    let mut lost = Family::counter(
        "tidegate_port_lost_frames_total",
        "Frames that the kernel lost before us, by port and reason.",
    );
    let mut program = Family::counter(
        "tidegate_program_frames_total",
        "Frames that the kernel's program saw, by port and what it did with them.",
    );
    for wire in wires {
        for port in &wire.ports {
            let labels = [("wire", wire.wire.as_str()), ("port", port.port)];
            frames.add(labels, port.received_frames as f64);
            bytes.add(labels, port.received_bytes as f64);
            let reasons =
                [("ring_full", port.lost_ring_full), ("fill_empty", port.lost_fill_empty), ("other", port.lost_other)];
            for (reason, count) in reasons {
                lost.add([labels[0], labels[1], ("reason", reason)], count as f64);
            }
            for (action, count) in port.program.iter().flat_map(|program| program.named()) {
                program.add([labels[0], labels[1], ("action", action)], count as f64);
            }
        }
    }
    [frames, bytes, lost, program].map(Family::done).into()
}

fn of_classes(wires: &[Account]) -> Vec<MetricFamily> {
    let mut frames = Family::counter("tidegate_class_sent_frames_total", "Frames sent, by direction and class.");
    let mut bytes = Family::counter("tidegate_class_sent_bytes_total", "Bytes sent, by direction and class.");
    let mut dropped =
        Family::counter("tidegate_class_dropped_frames_total", "Frames dropped, by direction, class and reason.");
    let mut marked = Family::counter(
        "tidegate_class_marked_frames_total",
        "Frames told of congestion by a mark (ECN), by direction and class.",
    );
    let mut queued = Family::gauge("tidegate_class_queued_frames", "Frames that wait, by direction and class.");
    let mut queued_bytes = Family::gauge("tidegate_class_queued_bytes", "Bytes that wait, by direction and class.");
    for wire in wires {
        for class in &wire.classes {
            let labels = [("wire", wire.wire.as_str()), ("direction", class.direction), ("class", class.class)];
            frames.add(labels, class.sent_frames as f64);
            bytes.add(labels, class.sent_bytes as f64);
            marked.add(labels, class.marked_frames as f64);
            queued.add(labels, class.queued_frames as f64);
            queued_bytes.add(labels, class.queued_bytes as f64);
            for (reason, count) in &class.dropped {
                dropped.add([labels[0], labels[1], labels[2], ("reason", reason)], *count as f64);
            }
        }
    }
    [frames, bytes, dropped, marked, queued, queued_bytes].map(Family::done).into()
}

fn of_times(wires: &[Account]) -> Vec<MetricFamily> {
    let mut sojourn = Family::histogram(
        "tidegate_sojourn_seconds",
        "Time from receipt to transmission, by class; of each burst the first frame of a class is measured.",
    );
    let mut stages = Family::histogram(
        "tidegate_stage_seconds",
        "Time that a stage took for a turn's frames; one turn in 64 is measured.",
    );
    for wire in wires {
        for class in Class::ALL {
            let labels = [("wire", wire.wire.as_str()), ("class", class.name())];
            sojourn.add_times(labels, wire.times.sojourn.class(class.slot().into()));
        }
        for (stage, times) in wire.times.stages.iter().flat_map(Stages::iter) {
            stages.add_times([("wire", wire.wire.as_str()), ("stage", stage)], times);
        }
    }
    [sojourn, stages].map(Family::done).into()
}

/// A metric with its series.
struct Family(MetricFamily);

impl Family {
    fn counter(name: &str, help: &str) -> Family {
        Family::new(name, help, MetricType::COUNTER)
    }

    fn gauge(name: &str, help: &str) -> Family {
        Family::new(name, help, MetricType::GAUGE)
    }

    fn histogram(name: &str, help: &str) -> Family {
        Family::new(name, help, MetricType::HISTOGRAM)
    }

    fn new(name: &str, help: &str, kind: MetricType) -> Family {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Family(family)
    }

    fn add<const N: usize>(&mut self, labels: [(&str, &str); N], value: f64) {
        let mut metric = Metric::from_label(labels.map(label).into());
        if self.0.get_field_type() == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.0.mut_metric().push(metric);
    }

    /// Adds a histogram of nanoseconds, which is shown in seconds.
    fn add_times<const N: usize>(&mut self, labels: [(&str, &str); N], times: &Histogram<u64>) {
        let mut shown = prometheus::proto::Histogram::default();
        let (mut buckets, mut sum, mut below) = (Vec::with_capacity(BOUNDS.len()), 0.0, 0);
        let mut bounds = BOUNDS.into_iter();
        let mut bucket = |bound: u64, below| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound as f64 / 1e9);
            bucket.set_cumulative_count(below);
            buckets.push(bucket);
        };
        let mut bound = bounds.next();
        for recorded in times.iter_recorded() {
            while let Some(next) = bound.filter(|bound| *bound < recorded.value_iterated_to()) {
                bucket(next, below);
                bound = bounds.next();
            }
            below += recorded.count_at_value();
            sum += times.median_equivalent(recorded.value_iterated_to()) as f64 * recorded.count_at_value() as f64;
        }
        bound.into_iter().chain(bounds).for_each(|bound| bucket(bound, below));
        shown.set_bucket(buckets);
        shown.set_sample_count(times.len());
        shown.set_sample_sum(sum / 1e9);
        let mut metric = Metric::from_label(labels.map(label).into());
        metric.set_histogram(shown);
        self.0.mut_metric().push(metric);
    }

    fn done(self) -> MetricFamily {
        self.0
    }
}

fn label((name, value): (&str, &str)) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of the text that begin with `name`.
    fn lines<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
        text.lines().filter(|line| line.starts_with(name)).collect()
    }

    #[test]
    fn a_snapshot_of_one_wire_is_told_with_its_number() {
        let account = Account { wire: "a-b".to_owned(), mode: Some("native_copy"), ..Account::default() };
        let text = text(&Snapshot { seq: 7, seconds: 1.5, wires: vec![account] });
        assert_eq!(lines(&text, "tidegate_snapshot_seq"), ["tidegate_snapshot_seq 7"]);
        assert_eq!(lines(&text, "tidegate_wire_mode"), [r#"tidegate_wire_mode{wire="a-b",mode="native_copy"} 1"#]);
        assert_eq!(lines(&text, "tidegate_wire_state").len(), WireState::ALL.len());
        assert!(text.contains("# TYPE tidegate_received_frames_total counter\n"), "{text}");
    }

    #[test]
    fn names_in_labels_are_escaped() {
        let account = Account { wire: "a\"b\\c-d".to_owned(), ..Account::default() };
        let text = text(&Snapshot { seq: 1, seconds: 0.0, wires: vec![account] });
        assert!(text.contains(r#"wire="a\"b\\c-d""#), "{text}");
    }

    #[test]
    fn times_fall_into_the_buckets_of_their_bounds() {
        let mut times = Histogram::new_with_bounds(1, 60_000_000_000, 2).unwrap();
        for nanos in [500, 1_500, 1_500, 3_000_000, 59_000_000_000] {
            times.record(nanos).unwrap();
        }
        let mut family = Family::histogram("t", "h");
        family.add_times([], &times);
        let text = TextEncoder::new().encode_to_string(&[family.done()]).unwrap();
        for line in ["t_bucket{le=\"0.000001\"} 1", "t_bucket{le=\"0.000002\"} 3", "t_bucket{le=\"0.002\"} 3"] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        for line in ["t_bucket{le=\"0.005\"} 4", "t_bucket{le=\"10\"} 4", "t_bucket{le=\"+Inf\"} 5", "t_count 5"] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let sum: f64 = lines(&text, "t_sum")[0].split(' ').nth(1).unwrap().parse().unwrap();
        assert!((sum - 59.003).abs() < 0.5, "{sum}");
    }
}
