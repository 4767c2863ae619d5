//! Quantiles of what was measured.

/// The value below which a share of the sorted `values` lies; 0 for none.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let at = (values.len() as f64 * share) as usize;
    values
        .get(at.min(values.len().saturating_sub(1)))
        .copied()
        .unwrap_or(0.0)
}
