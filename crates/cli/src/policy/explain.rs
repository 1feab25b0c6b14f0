//! `postern policy explain`: one call's path through the rules. Never judges by itself.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use postern_contract::{config::Stage, exit};
use postern_policy::{BODY_BYTES_MAX, Heard, Step};

use super::{
    book::Book,
    call::{Judged, Written, word_of},
};
use crate::{Failure, terminal::say};

/// Shows the path of one call through the rules, and the verdict; exits with 0 where it is allowed or looked into, and
/// with 1 where it is not
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  postern policy explain POST https://api.stripe.com/v1/refunds --agent desk --body refund.json --header 'x-env: prod' --config postern.toml"
)]
pub(crate) struct Args {
    /// The method, in upper case; CONNECT for a tunnel
    method: String,
    /// The URL, or /tools/NAME/PATH as an agent would call it; HOST:PORT for a tunnel
    url: String,
    /// The config
    #[arg(long)]
    config: PathBuf,
    /// Whose call it is, where there are several agents and no default
    #[arg(long)]
    agent: Option<String>,
    /// Ask for a sandbox that installs the agent: `fetch`, which brings its files, or `setup`, which makes them ready
    #[arg(long)]
    stage: Option<Stage>,
    /// A file that holds the body; `-` is standard input
    #[arg(long)]
    body: Option<PathBuf>,
    /// A header field as `name: value`; can be given more than once
    #[arg(long = "header", value_name = "FIELD")]
    headers: Vec<String>,
    /// The run that the call belongs to
    #[arg(long)]
    run: Option<String>,
    /// The user that the run is for
    #[arg(long)]
    user: Option<String>,
    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

/// Explains.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let book = Book::read(&args.config)?;
    let body = args.body.as_deref().map(read_body).transpose()?;
    let fields = args.headers.iter().map(|field| split(field));
    let written = Written {
        agent: args.agent.as_deref(),
        stage: args.stage,
        method: &args.method,
        url: &args.url,
        fields: fields.collect::<Result<_, _>>()?,
        body: body.as_deref(),
        run: args.run.as_deref(),
        user: args.user.as_deref(),
    };
    let judged = written.judge(&book)?;
    if args.json {
        say(&judged.as_json().to_string());
    } else {
        tell(&judged);
    }
    match judged.word() {
        "allow" | "look inside" => Ok(()),
        _ => Err(Failure::Told(exit::RUN)),
    }
}

/// At most one byte more than rules look at, which is enough to see that it is too long.
fn read_body(path: &Path) -> Result<Vec<u8>, Failure> {
    let read = |from: &mut dyn Read| {
        let mut body = Vec::new();
        let most = u64::try_from(BODY_BYTES_MAX).unwrap_or(u64::MAX);
        from.take(most.saturating_add(1)).read_to_end(&mut body)?;
        Ok(body)
    };
    let body = match path.to_str() {
        Some("-") => read(&mut io::stdin().lock()),
        _ => File::open(path).and_then(|mut file| read(&mut file)),
    };
    body.map_err(|error: io::Error| Failure::Usage(format!("{}: {error}", path.display())))
}

fn split(field: &str) -> Result<(&str, &str), Failure> {
    let (name, value) = field.split_once(':').ok_or_else(|| {
        Failure::Usage(format!(
            "a header field is written `name: value`, not `{field}`"
        ))
    })?;
    Ok((name.trim(), value.trim()))
}

fn tell(judged: &Judged) {
    let trace = &judged.trace;
    say(&match judged.stage {
        Some(stage) => format!(
            "agent    {}, its install's {}",
            judged.agent,
            stage.as_str()
        ),
        None => format!("agent    {}", judged.agent),
    });
    say(&format!("call     {} {}", judged.method, judged.url));
    say(&format!(
        "tool     {}",
        trace.tool.as_deref().unwrap_or("none")
    ));
    say(&format!(
        "body     {}",
        if trace.needs_body {
            "some rule needs it"
        } else {
            "no rule needs it"
        }
    ));
    say(&format!(
        "rules    {} of {} can speak about it",
        trace.steps.len(),
        trace.rules
    ));
    trace.steps.iter().for_each(tell_step);
    say(&if judged.looked_into {
        format!("verdict  {}", judged.word())
    } else {
        format!("verdict  {}, by rule `{}`", judged.word(), judged.rule())
    });
    if let Some(message) = judged.message() {
        say(&format!("         {message}"));
    }
}

fn tell_step(step: &Step) {
    let heard = match &step.heard {
        Heard::Holds => "holds".to_owned(),
        Heard::Not(key) => format!("does not hold: `{key}`"),
        Heard::CannotTell(why) => format!("cannot be judged: {}", why.join("; ")),
    };
    say(&format!(
        "  {:5}  `{}` of `{}`: {heard}",
        word_of(step.permission),
        step.rule,
        step.policy
    ));
    say(&format!("         {}", step.written));
}
