//! Six classes at once.
use crate::system::Rates;
use anyhow::Result;
use std::path::Path;
/// x
pub fn run(_helper: &Path, _tidegate: &Path, _rates: Rates, _seconds: u32) -> Result<()> {
    Ok(())
}
