//! What this machine can enforce, found out by really building a sandbox and tearing it down. Never guesses from
//! version numbers.

use std::{io, process::Command};

use postern_contract::launch::{Enforced, Layer, Obstacle, Said, Standing};

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The layer concerned; `None` when no sandbox can be built for another reason.
    pub layer: Option<Layer>,
    /// Whether it holds.
    pub standing: Standing,
    /// Whether a sandbox can be built at all without it.
    pub stops_everything: bool,
}

/// Why nothing was found out.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The launcher did not start.
    #[error("the launcher did not start: {0}")]
    NotStarted(#[from] io::Error),
    /// It said something that is no report.
    #[error("the launcher gave no report: {0}")]
    NoReport(String),
}

/// Asks the launcher (`command` runs it, without arguments of its own yet; for the multi-call binary with `launcher` as
/// the first) to build a sandbox and report. Blocks for some milliseconds.
///
/// # Errors
/// When it cannot be started or gives no report.
pub fn probe(mut command: Command) -> Result<Vec<Finding>, ProbeError> {
    let output = command
        .arg("--probe")
        .stdin(std::process::Stdio::null())
        .output()?;
    match serde_json::from_slice(&output.stdout) {
        Ok(Said::Built { enforced }) => Ok(standing(enforced)),
        Ok(Said::Refused(obstacle)) => Ok(vec![stopped(&obstacle)]),
        Ok(_) | Err(_) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(ProbeError::NoReport(
                said.lines().last().unwrap_or("silence").to_owned(),
            ))
        }
    }
}

fn standing(enforced: Enforced) -> Vec<Finding> {
    enforced
        .into_iter()
        .map(|(layer, standing)| Finding {
            layer: Some(layer),
            standing,
            stops_everything: false,
        })
        .collect()
}

fn stopped(obstacle: &Obstacle) -> Finding {
    Finding {
        layer: obstacle.layer,
        standing: Standing::Absent(obstacle.to_string()),
        stops_everything: true,
    }
}
