//! Figures with their bars, as a table and as JSON.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Map, Value, json};

/// What a figure must reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

/// One measured number.
#[derive(Debug)]
pub(crate) struct Figure {
    /// Its name in the JSON file.
    name: &'static str,
    unit: &'static str,
    /// What it is, in words.
    label: String,
    value: f64,
    bar: Option<Bar>,
}

/// The figures of one part of the benchmark.
#[derive(Debug)]
pub(crate) struct Section {
    name: &'static str,
    title: String,
    figures: Vec<Figure>,
    /// Whether they are of less than the bars are for, so that they are only shown.
    is_sample: bool,
}

impl Section {
    pub(crate) fn new(name: &'static str, title: impl Into<String>) -> Self {
        Self {
            name,
            title: title.into(),
            figures: Vec::new(),
            is_sample: false,
        }
    }

    /// The same, of less than the bars are for: it is shown, and not kept.
    pub(crate) fn of_sample(self) -> Self {
        Self {
            is_sample: true,
            ..self
        }
    }

    /// Adds a figure that is only told.
    pub(crate) fn tell(
        &mut self,
        name: &'static str,
        value: f64,
        unit: &'static str,
        label: impl Into<String>,
    ) {
        self.add(name, value, unit, label.into(), None);
    }

    /// Adds a figure that must reach a bar.
    pub(crate) fn hold(
        &mut self,
        name: &'static str,
        value: f64,
        unit: &'static str,
        label: impl Into<String>,
        bar: Bar,
    ) {
        self.add(name, value, unit, label.into(), Some(bar));
    }

    fn add(
        &mut self,
        name: &'static str,
        value: f64,
        unit: &'static str,
        label: String,
        bar: Option<Bar>,
    ) {
        self.figures.push(Figure {
            name,
            unit,
            label,
            value,
            bar,
        });
    }

    /// Whether every bar is reached.
    pub(crate) fn holds(&self) -> bool {
        self.figures.iter().all(Figure::holds)
    }

    /// Prints the table.
    #[expect(clippy::print_stdout, reason = "the benchmark's result is its output")]
    pub(crate) fn print(&self) {
        println!("\n{}", self.title);
        for figure in &self.figures {
            let Figure {
                unit, label, value, ..
            } = figure;
            let verdict = match figure.bar {
                None => String::new(),
                Some(bar) => {
                    let missed = if figure.holds() { "" } else { " MISSED" };
                    let (sign, limit) = match bar {
                        Bar::AtLeast(limit) => ('≥', limit),
                        Bar::AtMost(limit) => ('≤', limit),
                    };
                    format!("  ({sign} {}{missed})", shown(limit))
                }
            };
            println!("  {:>12} {unit:<10}  {label}{verdict}", shown(*value));
        }
    }
}

impl Figure {
    fn holds(&self) -> bool {
        match self.bar {
            None => true,
            Some(Bar::AtLeast(limit)) => self.value >= limit,
            Some(Bar::AtMost(limit)) => self.value <= limit,
        }
    }
}

/// Writes the sections into `tests/bench/results.json`, beside those of earlier runs.
pub(crate) fn save(sections: &[Section]) -> anyhow::Result<()> {
    let file = results();
    let mut all: Map<String, Value> = match std::fs::read(&file) {
        Ok(text) => serde_json::from_slice(&text)
            .with_context(|| format!("{} is not what this benchmark writes", file.display()))?,
        Err(_) => Map::new(),
    };
    for section in sections.iter().filter(|section| !section.is_sample) {
        let figures = section.figures.iter();
        let figures: Map<String, Value> = figures
            .map(|figure| (figure.name.to_owned(), json!(rounded(figure.value))))
            .collect();
        all.insert(section.name.to_owned(), Value::Object(figures));
    }
    Ok(std::fs::write(file, format!("{:#}\n", Value::Object(all)))?)
}

fn results() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/results.json")
}

/// Whole numbers from a thousand on, two digits behind the point below.
fn rounded(value: f64) -> f64 {
    if value.abs() >= 1000.0 {
        value.round()
    } else {
        (value * 100.0).round() / 100.0
    }
}

fn shown(value: f64) -> String {
    let rounded = rounded(value);
    if rounded.abs() < 1000.0 {
        return format!("{rounded}");
    }
    let digits = format!("{:.0}", rounded.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if rounded < 0.0 {
        format!("-{text}")
    } else {
        text
    }
}
