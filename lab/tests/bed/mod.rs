//! What the lab's tests share: the bed, the systems, and a loud way to skip.

#![allow(dead_code)] // Each test file uses its part.

// Which frames belong together.
pub(crate) mod flow;

use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};

use tidegate_lab::system::find_tidegate;
use tidegate_lab::{Lab, Layout, System};

/// Says something on the terminal even while the test harness captures output.
pub(crate) fn say(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether the long form of the tests is wanted.
pub(crate) fn long() -> bool {
    std::env::var("TIDEGATE_LONG").is_ok_and(|value| value == "1")
}

/// The bed, or nothing, said loudly, where it can't be made.
pub(crate) fn lab(layout: Layout) -> Option<Lab> {
    if !rustix::process::geteuid().is_root() {
        skip("root, for network namespaces");
        return None;
    }
    Some(Lab::build(layout, Path::new(env!("CARGO_BIN_EXE_tidegate-lab"))).unwrap_or_else(|error| panic!("{error:#}")))
}

/// Tidegate with `policy`, or nothing, said loudly, where it is not built.
pub(crate) fn tidegate(policy: String) -> Option<System> {
    found("the tidegate binary", find_tidegate()).map(|binary| System::Tidegate { binary, policy })
}

/// What was looked for, or nothing, said loudly, where it is missing.
pub(crate) fn found<T>(what: &str, search: anyhow::Result<T>) -> Option<T> {
    match search {
        Ok(it) => Some(it),
        Err(error) => {
            skip(&format!("{what}: {error}"));
            None
        }
    }
}

/// The folder of third-party captures, or nothing, said loudly, where it is missing.
pub(crate) fn captures() -> Option<PathBuf> {
    let data = std::env::var_os("TIDEGATE_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let folder = data.join("robust/pcap");
    if !folder.is_dir() {
        skip(&format!("TIDEGATE_DATA to name the folder of test data (no {})", folder.display()));
        return None;
    }
    Some(folder)
}

fn skip(need: &str) {
    assert!(!std::env::var("TIDEGATE_REQUIRE").is_ok_and(|value| value == "1"), "needs {need}, and TIDEGATE_REQUIRE=1");
    say(format_args!("SKIPPED: needs {need}"));
}
