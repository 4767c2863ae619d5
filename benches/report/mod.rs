//! How every bench reports: a table for people, `target/bench/NAME.json` for machines.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

/// Prints the metrics and writes them to `target/bench/NAME.json`.
pub fn print(name: &str, metrics: &[(&str, f64)]) -> Result<(), Box<dyn Error>> {
    println!("{name}");
    for (metric, value) in metrics {
        println!("  {metric:<40} {value:>12.3}");
    }
    let folder = Path::new("target/bench");
    std::fs::create_dir_all(folder)?;
    let metrics: BTreeMap<_, _> = metrics.iter().copied().collect();
    std::fs::write(
        folder.join(format!("{name}.json")),
        serde_json::to_string_pretty(&metrics)?,
    )?;
    Ok(())
}
