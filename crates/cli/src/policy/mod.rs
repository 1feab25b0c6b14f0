//! `postern policy`: what the rules of a config say, without a daemon. Never sends anything and never reads a secret.

mod book;
mod call;
mod explain;
mod learn;
mod table;

use crate::Failure;

/// Asks the rules of a config what they say
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  postern policy explain GET /tools/orders/orders --config examples/support-desk/postern.toml"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, clap::Subcommand)]
enum Question {
    Explain(explain::Args),
    Learn(learn::Args),
    Test(table::Args),
}

/// Answers the question.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.question {
        Question::Explain(args) => explain::run(args),
        Question::Learn(args) => learn::run(args),
        Question::Test(args) => table::run(args),
    }
}
