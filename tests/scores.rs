//! The scorers of the data folder, run on the program: the wire stays a wire, and classes are no worse than a port table's.

// Where scorers are.
mod data;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Runs a scorer, prints what it said, and returns its JSON.
fn score(scorer: &Path) -> Value {
    let arguments = ["--tidegate", env!("CARGO_BIN_EXE_tidegate"), "--json"];
    let output = Command::new("python3").arg(scorer).args(arguments).output().expect("python3 runs");
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    assert!(output.status.success(), "{}: {said}{complaint}", scorer.display());
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[test]
fn the_wire_stays_a_wire() {
    let Some(scorer) = data::find("score/transparency") else { return };
    let score = score(&scorer);
    assert_eq!(score.get("wrong"), None, "{}", score["wrong_files"]);
    assert!(score["same"].as_u64() > Some(900), "{score}");
}

#[test]
fn classes_are_told_as_well_as_ports_can_tell_them() {
    let Some(scorer) = data::find("score/classification") else { return };
    let score = score(&scorer);
    let of = |name: &str| score[name].as_f64().unwrap();
    println!("accuracy {:.4}, by byte {:.4}, macro-F1 {:.4}", of("accuracy"), of("byte_accuracy"), of("macro_f1"));
    assert!(of("accuracy") >= 0.69 && of("macro_f1") >= 0.51, "{score}");
}
