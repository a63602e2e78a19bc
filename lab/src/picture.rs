//! The demo's result as a picture: the 99th percentile of each class's latency, without and with Tidegate, as SVG.

use std::fmt::Write;

/// One class's two bars, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Bars {
    /// What stands beside them.
    pub label: String,
    /// Without Tidegate.
    pub without: u64,
    /// With Tidegate.
    pub with: u64,
}

/// The axis: powers of ten of a millisecond from the first to the last.
const DECADES: std::ops::RangeInclusive<i32> = -1..=4;
const LEFT: f64 = 235.0;
const WIDTH: f64 = 560.0;
const TOP: f64 = 64.0;
const ROW: f64 = 46.0;

/// Draws `rows` under `title`; readable on light and dark ground.
pub fn svg(title: &str, rows: &[Bars]) -> String {
    let bottom = TOP + ROW * rows.len() as f64;
    let height = bottom + 48.0;
    let mut out = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {height}" font-family="system-ui, sans-serif" font-size="14">
<style>
  text {{ fill: #24292f }} .axis {{ stroke: #d0d7de }} .without {{ fill: #8c959f }} .with {{ fill: #0969da }} .ground {{ fill: #ffffff }}
  @media (prefers-color-scheme: dark) {{
    text {{ fill: #e6edf3 }} .axis {{ stroke: #30363d }} .without {{ fill: #6e7681 }} .with {{ fill: #58a6ff }} .ground {{ fill: #0d1117 }}
  }}
</style>
<rect class="ground" width="100%" height="100%"/>
<text x="16" y="26" font-weight="600">{title}</text>
<rect class="without" x="16" y="38" width="12" height="12"/><text x="34" y="49">without Tidegate</text>
<rect class="with" x="160" y="38" width="12" height="12"/><text x="178" y="49">with Tidegate</text>
"##,
        w = LEFT + WIDTH + 90.0
    );
    for decade in DECADES {
        let at = x(10f64.powi(decade) * 1e6);
        let label = match decade {
            -1 => "0.1 ms".to_owned(),
            0..=2 => format!("{} ms", 10u32.pow(decade as u32)),
            _ => format!("{} s", 10u32.pow(decade as u32 - 3)),
        };
        let _ = writeln!(
            out,
            r#"<line class="axis" x1="{at:.1}" y1="{TOP}" x2="{at:.1}" y2="{bottom}"/><text x="{at:.1}" y="{}" text-anchor="middle">{label}</text>"#,
            bottom + 20.0
        );
    }
    for (i, row) in rows.iter().enumerate() {
        let y = TOP + ROW * i as f64 + 6.0;
        let _ = writeln!(out, r#"<text x="{}" y="{}" text-anchor="end">{}</text>"#, LEFT - 12.0, y + 21.0, row.label);
        for (class, nanos, y) in [("without", row.without, y), ("with", row.with, y + 17.0)] {
            let end = x(nanos as f64);
            let _ = writeln!(
                out,
                r#"<rect class="{class}" x="{LEFT}" y="{y}" width="{:.1}" height="15"/><text x="{:.1}" y="{}" font-size="12">{}</text>"#,
                (end - LEFT).max(1.0),
                end.max(LEFT) + 6.0,
                y + 12.0,
                crate::table::ms(nanos)
            );
        }
    }
    out.push_str("</svg>\n");
    out
}

/// Where `nanos` stands on the axis, clamped to its ends.
fn x(nanos: f64) -> f64 {
    let (first, last) = (f64::from(*DECADES.start()), f64::from(*DECADES.end()));
    let decade = (nanos.max(1.0) / 1e6).log10().clamp(first, last);
    LEFT + (decade - first) / (last - first) * WIDTH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decade_is_a_fifth_of_the_width_and_the_ends_hold() {
        assert_eq!(x(1e5), LEFT);
        assert_eq!(x(1e6), LEFT + WIDTH / 5.0);
        assert_eq!(x(0.0), LEFT);
        assert_eq!(x(1e15), LEFT + WIDTH);
    }

    #[test]
    fn every_row_has_its_label_and_both_figures() {
        let rows = [Bars { label: "voice".into(), without: 86_840_000, with: 300_000 }];
        let drawn = svg("title", &rows);
        for part in ["voice", "86.84 ms", "0.30 ms", "</svg>"] {
            assert!(drawn.contains(part), "{part} in {drawn}");
        }
    }
}
