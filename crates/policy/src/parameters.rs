//! What the parameters of a query say, read as a server would. Never guesses where servers differ: two parameters that
//! some of them take for one are unclear.

use crate::{escape, evidence::Unclear, query::CanonicalQuery};

/// The parameters of a query, in order.
#[derive(Debug)]
pub(crate) struct Parameters {
    pairs: Vec<Pair>,
    /// Whether `;` stands in it, at which some servers cut and others do not.
    cut_by_some: bool,
}

#[derive(Debug)]
struct Pair {
    name: Vec<u8>,
    folded: String,
    /// With `+` read as a space.
    value: Vec<u8>,
    has_plus: bool,
}

impl Parameters {
    pub(crate) fn of(query: Option<&CanonicalQuery>) -> Self {
        let text = query.map_or("", CanonicalQuery::as_str);
        Self {
            pairs: text
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(Pair::read)
                .collect(),
            cut_by_some: text.contains(';'),
        }
    }

    /// The one value of a parameter; `Ok(None)` where it is not there.
    pub(crate) fn one(&self, name: &str) -> Result<Option<&[u8]>, Unclear> {
        if self.cut_by_some {
            return Err(Unclear::Spelling);
        }
        let folded = fold(name);
        let mut alike = self.pairs.iter().filter(|pair| pair.folded == folded);
        match (alike.next(), alike.next()) {
            (None, _) => Ok(None),
            (Some(pair), None) if pair.name == name.as_bytes() => Ok(Some(&pair.value)),
            _ => Err(Unclear::Twice),
        }
    }

    /// Whether a parameter says exactly this.
    pub(crate) fn says(&self, name: &str, wanted: &str) -> Result<bool, Unclear> {
        let Some(value) = self.one(name)? else {
            return Ok(false);
        };
        if value == wanted.as_bytes() && !self.has_plus(name) {
            return Ok(true);
        }
        let plain = |text: &[u8]| {
            text.iter()
                .map(|b| if *b == b'+' { b' ' } else { *b })
                .collect()
        };
        let (one, other): (Vec<u8>, Vec<u8>) = (plain(value), plain(wanted.as_bytes()));
        if self.has_plus(name) && one == other {
            Err(Unclear::Spelling)
        } else {
            Ok(value == wanted.as_bytes())
        }
    }

    fn has_plus(&self, name: &str) -> bool {
        let named = |pair: &&Pair| pair.name == name.as_bytes();
        self.pairs
            .iter()
            .find(named)
            .is_some_and(|pair| pair.has_plus)
    }

    /// All of them as text, each name once.
    pub(crate) fn all(&self) -> Result<Vec<(&str, &str)>, Unclear> {
        if self.cut_by_some {
            return Err(Unclear::Spelling);
        }
        let mut names: Vec<&str> = self.pairs.iter().map(|pair| pair.folded.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|two| two[0] == two[1]) {
            return Err(Unclear::Twice);
        }
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Unclear::Spelling);
        let pairs = self.pairs.iter();
        pairs
            .map(|pair| Ok((text(&pair.name)?, text(&pair.value)?)))
            .collect()
    }
}

impl Pair {
    fn read(text: &str) -> Self {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let decoded = |text: &str| escape::decoded(&text.replace('+', "%20"));
        let name = decoded(name);
        Self {
            folded: fold(&String::from_utf8_lossy(&name)),
            name,
            value: decoded(value),
            has_plus: value.contains('+'),
        }
    }
}

/// The name as the most careless server reads it: without case, without `[...]`, with `_` for a dot or a space.
fn fold(name: &str) -> String {
    let name = name.split_once('[').map_or(name, |(name, _)| name);
    let careless = name
        .chars()
        .map(|c| if matches!(c, '.' | ' ') { '_' } else { c });
    careless.flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(text: &str) -> Parameters {
        Parameters::of(Some(&text.parse().unwrap()))
    }

    #[test]
    fn a_parameter_is_there_once_or_unclear() {
        for (text, said) in [
            ("dry_run=true", Ok(Some("true"))),
            ("a=1&dry%5Frun=tr%75e&b", Ok(Some("true"))),
            ("dry_run", Ok(Some(""))),
            ("", Ok(None)),
            ("a=dry_run", Ok(None)),
            ("dry_run=true&dry_run=true", Err(Unclear::Twice)),
            ("dry_run=true&Dry_Run=false", Err(Unclear::Twice)),
            ("dry_run=true&dry_run[]=false", Err(Unclear::Twice)),
            ("dry_run=true&dry.run=false", Err(Unclear::Twice)),
            ("DRY_RUN=true", Err(Unclear::Twice)),
            ("a=1;dry_run=false", Err(Unclear::Spelling)),
        ] {
            let found = parameters(text);
            let found = found.one("dry_run").map(|value| value.map(<[u8]>::to_vec));
            assert_eq!(
                found,
                said.map(|value| value.map(|v: &str| v.as_bytes().to_vec())),
                "{text}"
            );
        }
        assert_eq!(Parameters::of(None).one("a"), Ok(None));
    }

    #[test]
    fn a_plus_is_a_space_or_a_plus() {
        for (text, said) in [
            ("q=a%20b", Ok(true)),
            ("q=a+b", Err(Unclear::Spelling)),
            ("q=a%2Bb", Ok(false)),
            ("q=a+c", Ok(false)),
        ] {
            assert_eq!(parameters(text).says("q", "a b"), said, "{text}");
        }
        assert_eq!(parameters("q=a+b").says("q", "a+b"), Err(Unclear::Spelling));
        assert_eq!(parameters("q=a%2Bb").says("q", "a+b"), Ok(true));
    }

    #[test]
    fn all_of_them_or_none() {
        let found = parameters("a=1&b=x%20y");
        assert_eq!(found.all(), Ok(vec![("a", "1"), ("b", "x y")]));
        assert_eq!(parameters("a=1&A=2").all(), Err(Unclear::Twice));
        assert_eq!(parameters("a=%FF").all(), Err(Unclear::Spelling));
    }
}
