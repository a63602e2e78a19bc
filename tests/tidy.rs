//! Holds the source to the rules of the house: who may use whom, where `unsafe` may stand, and what the frame path never does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every room and the rooms of ours that it may use.
const LAYERS: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("time", &["units"]),
    ("wire", &[]),
    ("frame", &["units", "time"]),
    ("port", &["frame", "units", "time"]),
    ("flow", &["classify", "wire", "frame", "units", "time"]),
    ("classify", &["wire", "frame", "units", "time"]),
    ("qos", &["wire", "frame", "units", "time"]),
    ("datapath", &["port", "flow", "classify", "qos", "wire", "frame", "units", "time"]),
    ("config", &["datapath", "classify", "qos", "wire", "frame", "units", "time"]),
    ("telemetry", &["datapath", "classify", "qos", "flow", "port", "wire", "frame", "units", "time"]),
    (
        "control",
        &["config", "telemetry", "datapath", "port", "flow", "classify", "qos", "wire", "frame", "units", "time"],
    ),
    ("api", &["control", "telemetry"]),
    ("cli", &["api", "control", "config", "telemetry", "port", "flow", "wire", "frame", "units", "time"]),
];

/// Rooms through which every frame passes.
const FRAME_PATH: &[&str] = &["wire", "frame", "flow", "classify", "qos", "datapath"];

/// What a room on the frame path never does.
const NEVER_ON_THE_FRAME_PATH: &[&str] =
    &["Instant::now", "SystemTime", "thread::sleep", "Mutex", "RwLock", "println!", "eprintln!", "tracing::", "tokio"];

/// Rooms where `unsafe` may stand.
const UNSAFE: &[&str] = &["src/frame/", "src/port/xdp/"];

/// The longest file that another hand can be asked to live in.
const LONGEST_FILE: usize = 700;

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("src"), &mut found);
    found.sort();
    assert!(found.len() > 20, "the source is where it was");
    found.into_iter().map(|path| (path.clone(), fs::read_to_string(&path).unwrap())).collect()
}

/// The code of a file without its unit tests and comments.
fn code(text: &str) -> String {
    let shipped = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    shipped.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn room(path: &Path) -> String {
    let first = path.components().nth(1).unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn a_room_uses_only_the_layers_below_it() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let room = room(&path);
        if ["lib", "main"].contains(&room.as_str()) {
            continue;
        }
        let (_, allowed) = LAYERS
            .iter()
            .find(|(name, _)| *name == room)
            .unwrap_or_else(|| panic!("{}: the room {room} has no place in the layers", path.display()));
        let code = code(&text);
        let used: BTreeSet<&str> = code
            .split("crate::")
            .skip(1)
            .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default())
            .collect();
        for other in used {
            if other != room && !allowed.contains(&other) && LAYERS.iter().any(|(name, _)| *name == other) {
                wrong.push(format!("{}: {room} may not use {other}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_stands_only_where_it_may() {
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|(path, _)| !UNSAFE.iter().any(|place| path.starts_with(place)))
        .filter(|(_, text)| {
            let code = code(text).replace("unsafe_code", "").replace("unsafe_op_in_unsafe_fn", "");
            code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
        })
        .map(|(path, _)| path)
        .collect();
    assert!(wrong.is_empty(), "unsafe in {wrong:?}");
}

#[test]
fn the_frame_path_never_waits_asks_the_time_or_talks() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if !FRAME_PATH.contains(&room(&path).as_str()) {
            continue;
        }
        let code = code(&text);
        wrong.extend(
            NEVER_ON_THE_FRAME_PATH
                .iter()
                .filter(|never| code.contains(**never))
                .map(|never| format!("{}: {never}", path.display())),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_module_says_what_it_is_for() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//!") {
            wrong.push(format!("{}: no first line that says what the file is", path.display()));
        }
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            let declares = line.ends_with(';')
                && (line.starts_with("mod ") || line.starts_with("pub mod ") || line.starts_with("pub(crate) mod "));
            let above = lines[..i].iter().rev().find(|line| !line.starts_with("#["));
            if declares && !above.is_some_and(|line| line.starts_with("// ")) {
                wrong.push(format!("{}:{}: no purpose above `{line}`", path.display(), i + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_file_is_too_long_to_hold_in_the_head() {
    let wrong: Vec<_> = sources()
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .collect();
    assert!(wrong.is_empty(), "longer than {LONGEST_FILE} lines: {wrong:?}");
}
