//! Amounts as people write them in config: `512MiB`, `30s`. Parsed once, here; inside they are plain numbers.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// Why a text is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAmount {
    /// No byte size.
    #[error("write a size as a whole number with B, KiB, MiB or GiB, such as `512MiB`")]
    Size,
    /// No period.
    #[error("write a period as a whole number with ms, s, m, h or d, such as `30s`")]
    Period,
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(pub u64);

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(pub Duration);

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

impl FromStr for ByteSize {
    type Err = NotAnAmount;

    fn from_str(text: &str) -> Result<Self, NotAnAmount> {
        let (number, unit) = split(text).ok_or(NotAnAmount::Size)?;
        let shift = match unit {
            "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(NotAnAmount::Size),
        };
        number
            .checked_mul(1 << shift)
            .map(Self)
            .ok_or(NotAnAmount::Size)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl FromStr for Period {
    type Err = NotAnAmount;

    fn from_str(text: &str) -> Result<Self, NotAnAmount> {
        let (number, unit) = split(text).ok_or(NotAnAmount::Period)?;
        let millis = match unit {
            "ms" => Some(number),
            "s" => number.checked_mul(1_000),
            "m" => number.checked_mul(60_000),
            "h" => number.checked_mul(3_600_000),
            "d" => number.checked_mul(86_400_000),
            _ => None,
        };
        millis
            .map(|ms| Self(Duration::from_millis(ms)))
            .ok_or(NotAnAmount::Period)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0.as_millis())
    }
}

macro_rules! through_text {
    ($($amount:ident)*) => {$(
        impl TryFrom<String> for $amount {
            type Error = NotAnAmount;

            fn try_from(text: String) -> Result<Self, NotAnAmount> {
                text.parse()
            }
        }

        impl From<$amount> for String {
            fn from(amount: $amount) -> Self {
                amount.to_string()
            }
        }
    )*};
}

through_text!(ByteSize Period);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!("512MiB".parse(), Ok(ByteSize(512 << 20)));
        assert_eq!(ByteSize(512 << 20).to_string(), "512MiB");
        for bad in ["512", "MiB", "-1MiB", "1MB", "99999999999999GiB", "1 MiB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }

    #[test]
    fn periods() {
        assert_eq!("2m".parse(), Ok(Period(Duration::from_secs(120))));
        assert_eq!("30d".parse(), Ok(Period(Duration::from_secs(2_592_000))));
        for bad in ["5", "s", "1w", "1.5s"] {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
    }
}
