//! The command line of the daemon. Never reads a file.

use std::path::PathBuf;

use clap::Parser;
use postern_contract::launch::Layer;
use serde::de::{IntoDeserializer, value};

/// Installs agents, runs them in sandboxes and serves the API.
#[derive(Debug, Parser)]
#[command(name = "posternd", version)]
pub(crate) struct Arguments {
    /// postern.toml
    #[arg(long)]
    pub(crate) config: PathBuf,
    /// Where runs, agents' files and the operator's key are kept.
    #[arg(long)]
    pub(crate) state: PathBuf,
    /// The gate's link socket.
    #[arg(long)]
    pub(crate) link: PathBuf,
    /// The launcher's socket.
    #[arg(long)]
    pub(crate) launcher: PathBuf,
    /// The uid that the gate must run as.
    #[arg(long)]
    pub(crate) gate_uid: Option<u32>,
    /// Standard input is the supervisor's pipe: one line of JSON, then its end means to go.
    #[arg(long)]
    pub(crate) lifeline: bool,
    /// Layers that may be absent in every sandbox, beside those that the config names for one agent.
    #[arg(long, value_delimiter = ',', value_parser = layer)]
    pub(crate) allow_weaker: Vec<Layer>,
    /// Log lines as JSON.
    #[arg(long)]
    pub(crate) json_log: bool,
}

fn layer(text: &str) -> Result<Layer, value::Error> {
    serde::Deserialize::deserialize(text.into_deserializer())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_named_as_in_the_config() {
        let line = "posternd --config c --state s --link l --launcher x --allow-weaker";
        let parse = |layers: &str| Arguments::try_parse_from(line.split(' ').chain([layers]));
        let arguments = parse("separate_uid,fresh_proc").unwrap();
        assert_eq!(
            arguments.allow_weaker,
            [Layer::SeparateUid, Layer::FreshProc]
        );
        assert!(
            parse("separate-uid")
                .unwrap_err()
                .to_string()
                .contains("separate_uid")
        );
    }
}
