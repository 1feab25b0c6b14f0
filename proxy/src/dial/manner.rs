//! How a tool or provider wants to be reached: how long it may take, how often it is tried, whom it is believed to be. Never
//! dials.

use std::{path::Path, sync::Arc, time::Duration};

use postern_contract::config;

use super::tls::{Roots, UnreadableRoots};
use crate::limit::Limits;

/// Until a connection stands, where the config says nothing.
const CONNECT: Duration = Duration::from_secs(10);

/// Until the answer begins, where the config says nothing. Models think for minutes.
const FIRST_BYTE: Duration = Duration::from_secs(600);

/// The longest silence in a body, where the config says nothing.
const IDLE: Duration = Duration::from_secs(300);

/// How often a connection that did not come to be is tried again, where the config says nothing.
const RETRIES: u8 = 1;

/// The most tries that a config may ask for.
const RETRIES_MAX: u8 = 5;

/// How a tool or provider is reached.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manner {
    /// Whose manner it is: `tools.NAME` or `providers.NAME`; a host that only a rule names has none.
    pub(crate) name: Option<Arc<str>>,
    /// How long things may take.
    pub(crate) timeouts: Timeouts,
    /// How often a connection that did not come to be is tried again.
    pub(crate) retries: Retries,
    /// What each sandbox may have of it, and all together.
    pub(crate) limits: Limits,
    /// The only authorities that are believed about it; absent means those of the system.
    pub(crate) roots: Option<Roots>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// Until a connection stands.
    pub(crate) connect: Duration,
    /// From the request to the beginning of the answer.
    pub(crate) first_byte: Duration,
    /// The longest silence in the middle of a body.
    pub(crate) idle: Duration,
    /// The whole exchange, once a connection stands; absent means without end.
    pub(crate) total: Option<Duration>,
}

impl Timeouts {
    /// How long an answer may take to begin; it cannot take longer than the whole.
    pub(crate) fn head(self) -> Duration {
        self.total
            .map_or(self.first_byte, |total| total.min(self.first_byte))
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: CONNECT,
            first_byte: FIRST_BYTE,
            idle: IDLE,
            total: None,
        }
    }
}

/// How often something is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retries(pub(crate) u8);

impl Default for Retries {
    fn default() -> Self {
        Self(RETRIES)
    }
}

/// What the config says of one tool or provider.
pub(crate) struct Written<'a> {
    pub(crate) timeouts: &'a config::Timeouts,
    pub(crate) retries: Option<u8>,
    pub(crate) limits: &'a config::Limits,
    pub(crate) ca: Option<&'a Path>,
}

/// Why a manner makes no sense, and the key that says so.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoManner {
    #[error("`{0}` may not be without end: write a period such as `30s`")]
    Endless(&'static str),
    #[error("at most {RETRIES_MAX} retries")]
    Retries,
    #[error("`burst` needs `per_second`")]
    Burst,
    #[error(transparent)]
    Roots(#[from] UnreadableRoots),
}

impl NoManner {
    /// The key that is wrong.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::Endless(_) => "timeouts",
            Self::Retries => "retries",
            Self::Burst => "limits",
            Self::Roots(_) => "ca",
        }
    }
}

impl Manner {
    /// What the config means for the tool or provider of this name, whose file of authorities is read like this.
    pub(crate) fn read(
        name: String,
        written: &Written<'_>,
        roots: impl FnOnce(&Path) -> Result<Roots, UnreadableRoots>,
    ) -> Result<Self, NoManner> {
        let retries = written.retries.unwrap_or(RETRIES);
        if retries > RETRIES_MAX {
            return Err(NoManner::Retries);
        }
        let (own, together) = (written.limits, &written.limits.together);
        for (burst, per_second) in [
            (own.burst, own.per_second),
            (together.burst, together.per_second),
        ] {
            if burst.is_some() && per_second.is_none() {
                return Err(NoManner::Burst);
            }
        }
        let roots = written.ca.map(roots);
        Ok(Self {
            name: Some(name.into()),
            timeouts: Timeouts::read(written.timeouts)?,
            retries: Retries(retries),
            limits: Limits::from(written.limits),
            roots: roots.transpose()?,
        })
    }
}

impl Timeouts {
    fn read(written: &config::Timeouts) -> Result<Self, NoManner> {
        let or = |key, written: Option<postern_contract::Period>, default| match written {
            Some(period) if period.0.is_zero() => Err(NoManner::Endless(key)),
            Some(period) => Ok(period.0),
            None => Ok(default),
        };
        let total = written.total.map(|period| period.0);
        Ok(Self {
            connect: or("connect", written.connect, CONNECT)?,
            first_byte: or("first_byte", written.first_byte, FIRST_BYTE)?,
            idle: or("idle", written.idle, IDLE)?,
            total: total.filter(|total| !total.is_zero()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(timeouts: &str, limits: &str, retries: Option<u8>) -> Result<Manner, NoManner> {
        let written = Written {
            timeouts: &serde_json::from_str(timeouts).unwrap(),
            retries,
            limits: &serde_json::from_str(limits).unwrap(),
            ca: None,
        };
        Manner::read("tools.crm".to_owned(), &written, Roots::read)
    }

    #[test]
    fn what_is_left_out_is_the_gates_own_and_zero_is_without_end_where_that_is_allowed() {
        let manner = read(r#"{"connect":"5s","total":"0s"}"#, "{}", None).unwrap();
        let wanted = Timeouts {
            connect: Duration::from_secs(5),
            ..Timeouts::default()
        };
        assert_eq!(manner.timeouts, wanted);
        assert_eq!(manner.retries, Retries(RETRIES));
        let total = read(r#"{"total":"1m"}"#, "{}", None)
            .unwrap()
            .timeouts
            .total;
        assert_eq!(total, Some(Duration::from_secs(60)));
    }

    #[test]
    fn what_makes_no_sense_names_its_key() {
        for (timeouts, limits, retries, key) in [
            (r#"{"connect":"0s"}"#, "{}", None, "timeouts"),
            (r#"{"idle":"0s"}"#, "{}", None, "timeouts"),
            ("{}", r#"{"burst":3}"#, None, "limits"),
            (
                "{}",
                r#"{"per_second":1,"together":{"burst":3}}"#,
                None,
                "limits",
            ),
            ("{}", "{}", Some(6), "retries"),
        ] {
            assert_eq!(read(timeouts, limits, retries).unwrap_err().key(), key);
        }
    }
}
