//! Medians, and the lines of the table.

/// What one row measured in each run: the program and the limit beside it, in the same unit.
#[derive(Default)]
pub(super) struct Pairs(Vec<(f64, f64)>);

impl Pairs {
    pub(super) fn push(&mut self, ours: f64, limit: f64) {
        self.0.push((ours, limit));
    }

    /// One line: medians of both, and the median of the ratios run by run.
    pub(super) fn print(&self, name: &str, unit: &str) {
        let ours = median(self.0.iter().map(|pair| pair.0));
        let limit = median(self.0.iter().map(|pair| pair.1));
        let ratio = median(self.0.iter().map(|pair| pair.0 / pair.1));
        println!(
            "| {name} | {} {unit} | {} {unit} | {ratio:.2} | {} |",
            round(ours),
            round(limit),
            self.0.len()
        );
    }
}

/// The head of the table.
pub(super) fn head() {
    println!("| what | pillarbox | the limit beside it | ratio | runs |");
    println!("|---|---|---|---|---|");
}

/// A line without a limit.
pub(super) fn fact(name: &str, value: &str) {
    println!("| {name} | {value} | - | - | 1 |");
}

pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The value below which so much of them lies.
pub(super) fn quantile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 - 1.0) * part).round() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}

fn round(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}
