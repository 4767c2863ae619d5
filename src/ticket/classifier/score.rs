//! How often a model is right: accuracy, F1 of each label and their mean, and which labels it takes for which.

use std::fmt;

use super::Classifier;
use super::samples::Sample;

/// A model's answers over some samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The labels of model and samples.
    pub labels: Vec<String>,
    /// By true label, then by answer; the last column counts texts without an answer.
    pub confusion: Vec<Vec<usize>>,
    /// How often the true label is among the three likeliest.
    among_three: usize,
    /// Sum over the answers of their confidence, to be compared with how many are right.
    confidence: f64,
}

/// Judges `model` by `samples`; a label that the model does not know is always missed.
pub fn evaluate(model: &Classifier, samples: &[Sample]) -> Report {
    let mut labels = model.labels().to_vec();
    for sample in samples {
        if !labels.contains(&sample.label) {
            labels.push(sample.label.clone());
        }
    }
    let mut report = Report {
        confusion: vec![vec![0; labels.len() + 1]; labels.len()],
        labels,
        among_three: 0,
        confidence: 0.0,
    };
    for sample in samples {
        let truth = report
            .labels
            .iter()
            .position(|label| *label == sample.label)
            .expect("put there above");
        let answer = match model.rank(&sample.text) {
            Some(ranked) => {
                let three = ranked.iter().take(3).any(|(label, _)| *label == truth);
                report.among_three += usize::from(three);
                report.confidence += f64::from(ranked[0].1);
                ranked[0].0
            }
            None => report.labels.len(),
        };
        report.confusion[truth][answer] += 1;
    }
    report
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

impl Report {
    fn count(&self) -> usize {
        self.confusion.iter().flatten().sum()
    }

    /// The share of right answers.
    pub fn accuracy(&self) -> f64 {
        let right = (0..self.labels.len()).map(|label| self.confusion[label][label]);
        share(right.sum(), self.count())
    }

    /// The share of texts whose label is among the three likeliest.
    pub fn top_three(&self) -> f64 {
        share(self.among_three, self.count())
    }

    /// The harmonic mean of a label's precision and recall.
    fn f1(&self, label: usize) -> f64 {
        let right = self.confusion[label][label];
        let said: usize = self.confusion.iter().map(|row| row[label]).sum();
        let there: usize = self.confusion[label].iter().sum();
        share(2 * right, said + there)
    }

    /// The mean F1 of the labels that the samples have.
    pub fn macro_f1(&self) -> f64 {
        let there: Vec<f64> = (0..self.labels.len())
            .filter(|label| self.confusion[*label].iter().any(|count| *count > 0))
            .map(|label| self.f1(label))
            .collect();
        there.iter().sum::<f64>() / there.len().max(1) as f64
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "texts      {}", self.count())?;
        writeln!(f, "accuracy   {:.4}", self.accuracy())?;
        writeln!(f, "macro F1   {:.4}", self.macro_f1())?;
        writeln!(f, "top three  {:.4}", self.top_three())?;
        let confidence = self.confidence / self.count().max(1) as f64;
        writeln!(
            f,
            "confidence {confidence:.4} (mean; near the accuracy when honest)"
        )?;
        writeln!(f, "\nconfusion: a row a true label, a column an answer")?;
        write!(f, "{:>8}", "")?;
        for at in 1..=self.labels.len() {
            write!(f, "{at:>7}")?;
        }
        let unanswered = self.confusion.iter().any(|row| row[self.labels.len()] > 0);
        writeln!(f, "{}     F1", if unanswered { "   none" } else { "" })?;
        for (label, row) in self.confusion.iter().enumerate() {
            write!(f, "{:>8}", label + 1)?;
            for count in &row[..self.labels.len() + usize::from(unanswered)] {
                write!(f, "{count:>7}")?;
            }
            writeln!(f, "  {:.3}  {}", self.f1(label), self.labels[label])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::small;
    use super::{Sample, evaluate};

    #[test]
    fn right_wrong_and_unknown_answers_are_counted_where_they_belong() {
        let sample = |label: &str, text: &str| Sample {
            label: label.to_owned(),
            text: text.to_owned(),
        };
        let report = evaluate(
            &small(),
            &[
                sample("电梯", "电梯坏了"),
                sample("快递", "快递没收到"),
                sample("快递", "电梯停了没人维修"),
                sample("供水", "快递丢了"),
            ],
        );
        assert!((report.accuracy() - 0.5).abs() < 1e-9);
        let table = report.to_string();
        assert!(
            table.contains("accuracy   0.5000") && table.contains("供水"),
            "{table}"
        );
        assert!(report.macro_f1() > 0.3 && report.macro_f1() < 0.6);
    }
}
