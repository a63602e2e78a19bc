//! Where captures and scorers are: the folder that `TIDEGATE_DATA` names, by default `../shared`.

use std::fs;
use std::path::{Path, PathBuf};

/// What is at `name` in the data folder; `None`, after saying so loudly, if it isn't there, or a failure if it must be.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("TIDEGATE_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = root.join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var("TIDEGATE_REQUIRE").as_deref() != Ok("1"), "needs TIDEGATE_DATA with {name}");
    eprintln!("SKIPPED: needs TIDEGATE_DATA with {name}");
    None
}

/// The files in the folder `name` and below, sorted; none, after saying so loudly, if it isn't there.
#[allow(dead_code, reason = "not every test that needs data needs files")]
pub(crate) fn files(name: &str) -> Vec<PathBuf> {
    let (mut folders, mut found) = (Vec::from_iter(find(name)), Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}
