//! The gate's numbers as they stand in its own metrics text, for a collector that is sent them. Never anything but that
//! text: names are the gate's, and no label of it holds a quote or a comma.

use super::otlp::Metric;

/// Every number but the buckets of histograms, of which sum and count are told.
pub(super) fn of(text: &str) -> Vec<Metric> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(reading).collect()
}

fn reading(line: &str) -> Option<Metric> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    if name.ends_with("_bucket") {
        return None;
    }
    let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
    let labels = pairs.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()));
    Some(Metric {
        name: name.to_owned(),
        labels: labels.filter(|(_, value)| !value.is_empty()).collect(),
        value: value.parse().ok()?,
        counts: ["_total", "_sum", "_count"]
            .iter()
            .any(|end| name.ends_with(end)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_with_their_labels() {
        let text = "# HELP a words\n\
            postern_calls_total{decision=\"allowed\",tool=\"\",agent=\"desk\"} 3\n\
            postern_call_seconds_bucket{le=\"1\"} 3\n\
            postern_calls_in_flight 2\n# EOF\n";
        let all = of(text);
        assert_eq!(all.len(), 2);
        let labels: Vec<_> = all[0].labels.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(
            (labels, all[0].value, all[0].counts),
            (vec!["decision", "agent"], 3.0, true)
        );
        assert!(!all[1].counts);
    }
}
