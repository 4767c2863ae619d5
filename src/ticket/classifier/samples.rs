//! Labelled texts from CSV: columns `label` and `text`, by their names in the first line.

use std::fmt;

/// A text and what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// What it is about.
    pub label: String,
    /// The text.
    pub text: String,
}

/// Why a file of samples cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleError {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl fmt::Display for SampleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}; {}", self.line, self.what, self.remedy)
    }
}

impl std::error::Error for SampleError {}

/// Reads every sample of a file; other columns are ignored.
///
/// # Errors
/// [`SampleError`] with the line: a column is missing, a row has too few or too many columns, a quote is not closed,
/// a label or text is empty, the file is not UTF-8 or has no samples.
pub fn read(file: &[u8]) -> Result<Vec<Sample>, SampleError> {
    let file = file.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(file);
    let text = std::str::from_utf8(file).map_err(|error| SampleError {
        line: line_of(file, error.valid_up_to()),
        what: "the file is not UTF-8".to_owned(),
        remedy: "save it as CSV UTF-8",
    })?;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| fault(&error))?.clone();
    let column = |name: &str| {
        header
            .iter()
            .position(|column| column.trim().eq_ignore_ascii_case(name))
            .ok_or_else(|| SampleError {
                line: 1,
                what: format!("no column is named {name}"),
                remedy: "begin the file with the line label,text",
            })
    };
    let (label, text) = (column("label")?, column("text")?);
    let mut samples = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| fault(&error))?;
        let line = record.position().map_or(0, csv::Position::line);
        let filled = |at: usize, name: &str| match record.get(at).map(str::trim) {
            Some(value) if !value.is_empty() => Ok(value.to_owned()),
            _ => Err(SampleError {
                line,
                what: format!("the {name} is empty"),
                remedy: "fill it or remove the row",
            }),
        };
        samples.push(Sample {
            label: filled(label, "label")?,
            text: filled(text, "text")?,
        });
    }
    if samples.is_empty() {
        return Err(SampleError {
            line: 1,
            what: "there are no samples".to_owned(),
            remedy: "write one label and text a row below the first line",
        });
    }
    Ok(samples)
}

fn line_of(file: &[u8], at: usize) -> u64 {
    file[..at].split(|byte| *byte == b'\n').count() as u64
}

fn fault(error: &csv::Error) -> SampleError {
    let line = error.position().map_or(0, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => SampleError {
            line,
            what: format!("the row has {len} columns and the first line {expected_len}"),
            remedy: "put a text with commas in double quotes",
        },
        _ => SampleError {
            line,
            what: "the row cannot be read".to_owned(),
            remedy: "save the file as CSV UTF-8",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    fn refused(file: &str) -> String {
        read(file.as_bytes()).expect_err("refused").to_string()
    }

    #[test]
    fn columns_go_by_their_names_and_quotes_hold_commas_and_lines() {
        let samples =
            read("\u{FEFF}id,text,label\n1,\"停水了，\n\"\"没人管\"\", 三天\",供水\n".as_bytes())
                .expect("sound");
        assert_eq!(samples[0].label, "供水");
        assert_eq!(samples[0].text, "停水了，\n\"没人管\", 三天");
    }

    #[test]
    fn a_fault_names_its_line() {
        assert!(refused("label,words\n").starts_with("line 1: no column is named text"));
        assert!(refused("label,text\na,b\na,b,c\n").starts_with("line 3: the row has 3 columns"));
        assert!(refused("label,text\na,b\n,c\n").starts_with("line 3: the label is empty"));
        assert!(refused("label,text\n").contains("no samples"));
        let latin = read(b"label,text\na,\xFF\xFE\n").expect_err("refused");
        assert!(
            latin
                .to_string()
                .starts_with("line 2: the file is not UTF-8")
        );
    }
}
