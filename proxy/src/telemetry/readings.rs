//! The gate's numbers as they stand in its own metrics text, for a collector that is sent them. Never anything but that
//! text: names are the gate's, and no label of it holds a quote or a comma.

use super::otlp::{Histogram, Metric, Reading};

/// The label that says up to where a bucket reaches.
const BOUND: &str = "le";

/// Every number. A histogram is one, whose lines follow each other.
pub(super) fn of(text: &str) -> Vec<Metric> {
    let mut all = Vec::new();
    let mut histogram = None;
    for line in text.lines() {
        if let Some(words) = line.strip_prefix("# TYPE ") {
            histogram = words.strip_suffix(" histogram");
        } else if !line.starts_with('#') {
            // A line that is no number is left out.
            let _read = read(line, histogram, &mut all);
        }
    }
    all
}

/// Takes one line, of this histogram or of none.
fn read(line: &str, histogram: Option<&str>, all: &mut Vec<Metric>) -> Option<()> {
    let (series, value) = line.rsplit_once(' ')?;
    let value: f64 = value.parse().ok()?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    let labels = pairs(labels);
    let Some(whole) = histogram else {
        let value = if name.ends_with("_total") {
            Reading::Sum(value)
        } else {
            Reading::Gauge(value)
        };
        let name = name.to_owned();
        all.push(Metric {
            name,
            labels,
            value,
        });
        return Some(());
    };
    let (bounds, labels): (Vec<_>, Vec<_>) = labels.into_iter().partition(|(key, _)| key == BOUND);
    let histogram = of_series(whole, labels, all)?;
    match name.strip_prefix(whole)? {
        "_sum" => histogram.sum = value,
        // Whole numbers far below what a float holds exactly.
        "_count" => histogram.count = value as u64,
        "_bucket" => {
            let (_, bound) = bounds.first()?;
            histogram.buckets.push((bound.parse().ok()?, value as u64));
        }
        _ => {}
    }
    Some(())
}

/// The histogram of this name and these labels: the last one, or a new one.
fn of_series<'a>(
    name: &str,
    labels: Vec<(String, String)>,
    all: &'a mut Vec<Metric>,
) -> Option<&'a mut Histogram> {
    if all
        .last()
        .is_none_or(|last| last.name != name || last.labels != labels)
    {
        all.push(Metric {
            name: name.to_owned(),
            labels,
            value: Reading::Histogram(Histogram::default()),
        });
    }
    match &mut all.last_mut()?.value {
        Reading::Histogram(histogram) => Some(histogram),
        Reading::Sum(_) | Reading::Gauge(_) => None,
    }
}

/// Labels that say something.
fn pairs(labels: &str) -> Vec<(String, String)> {
    let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_with_their_labels() {
        let text = "# HELP a words\n# TYPE postern_calls counter\n\
            postern_calls_total{decision=\"allowed\",tool=\"\",agent=\"desk\"} 3\n\
            # TYPE postern_calls_in_flight gauge\n\
            postern_calls_in_flight 2\n# EOF\n";
        let all = of(text);
        assert_eq!(all.len(), 2);
        let labels: Vec<_> = all[0].labels.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(labels, ["decision", "agent"]);
        assert_eq!(all[0].value, Reading::Sum(3.0));
        assert_eq!(all[1].value, Reading::Gauge(2.0));
    }

    #[test]
    fn the_lines_of_a_histogram_are_one_for_each_of_its_series() {
        let text = "# TYPE s histogram\n\
            s_sum{d=\"a\"} 2.5\ns_count{d=\"a\"} 2\ns_bucket{le=\"1.0\",d=\"a\"} 1\ns_bucket{le=\"+Inf\",d=\"a\"} 2\n\
            s_sum{d=\"b\"} 0.0\ns_count{d=\"b\"} 0\ns_bucket{le=\"1.0\",d=\"b\"} 0\ns_bucket{le=\"+Inf\",d=\"b\"} 0\n";
        let all = of(text);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].labels, [("d".to_owned(), "a".to_owned())]);
        let expected = Histogram {
            sum: 2.5,
            count: 2,
            buckets: vec![(1.0, 1), (f64::INFINITY, 2)],
        };
        assert_eq!(all[0].value, Reading::Histogram(expected));
    }
}
