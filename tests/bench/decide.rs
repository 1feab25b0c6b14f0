//! What one decision takes, by the number of rules: many tools with a few rules each, and many rules on one host. Prints
//! a table; never asserts anything. `cargo bench -p postern-tests --bench decide`

use std::{
    hint::black_box,
    io::{self, Write as _},
    time::Instant,
};

use postern_contract::{
    AgentName,
    config::{Document, Granted},
};
use postern_policy::{CanonicalUrl, Facts, Method, Route, Rulebook, Verdict};

/// Decisions that are timed, one by one.
const SAMPLES: usize = 200_000;

/// Decisions before that.
const WARM_UP: usize = 20_000;

/// Rules of each tool.
const RULES_A_TOOL: usize = 10;

/// So many tools, each on a host of its own with its own rules.
fn many_tools(tools: usize) -> (String, Vec<String>) {
    let names: Vec<_> = (0..tools).map(|tool| format!("\"t{tool}\"")).collect();
    let mut config = format!(
        "[agents.desk]\ntools = [{}]\npolicies = [\"p\"]\n",
        names.join(",")
    );
    let mut urls = Vec::with_capacity(tools);
    for tool in 0..tools {
        let host = format!("https://t{tool}.example.com");
        config += &format!("[tools.t{tool}]\nurl = \"{host}\"\n");
        for rule in 0..RULES_A_TOOL {
            add_rule(
                &mut config,
                &format!("r{tool}-{rule}"),
                &format!("{host}/v1/kind{rule}/*"),
            );
        }
        urls.push(format!(
            "{host}/v1/kind{}/items/17?page=2",
            tool % RULES_A_TOOL
        ));
    }
    (config, urls)
}

/// One tool, and so many rules on its host.
fn one_host(rules: usize) -> (String, Vec<String>) {
    let host = "https://t.example.com";
    let mut config = format!(
        "[agents.desk]\ntools = [\"t\"]\npolicies = [\"p\"]\n[tools.t]\nurl = \"{host}\"\n"
    );
    let mut urls = Vec::with_capacity(rules);
    for rule in 0..rules {
        add_rule(
            &mut config,
            &format!("r{rule}"),
            &format!("{host}/v1/kind{rule}/*"),
        );
        urls.push(format!("{host}/v1/kind{rule}/items/17?page=2"));
    }
    (config, urls)
}

fn add_rule(config: &mut String, name: &str, resource: &str) {
    *config += &format!(
        "[[policies.p.rules]]\nname = \"{name}\"\npermission = \"allow\"\nresource = \"{resource}\"\n\
         operations = [\"GET\"]\n"
    );
}

/// Nanoseconds at the median and at the 99th percentile.
#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark is what the clock is for"
)]
fn measure(config: &str, urls: &[String]) -> anyhow::Result<(u128, u128)> {
    let document: Document<Granted> = toml::from_str(config)?;
    let book = Rulebook::compile(&document).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    let (agent, method): (AgentName, Method) = ("desk".parse()?, "GET".parse()?);
    let urls: Vec<CanonicalUrl> = urls
        .iter()
        .map(|url| url.parse())
        .collect::<Result<_, _>>()?;
    let mut taken = Vec::with_capacity(SAMPLES);
    for sample in 0..WARM_UP + SAMPLES {
        // A stride that visits them all in an order that no cache foresees.
        let url = &urls[sample * 7919 % urls.len()];
        let tool = book.route(url).map(Route::tool);
        let facts = Facts {
            stage: None,
            agent: &agent,
            method: &method,
            url,
            tool,
        };
        let start = Instant::now();
        let verdict = black_box(book.decide(black_box(&facts)));
        let nanoseconds = start.elapsed().as_nanos();
        anyhow::ensure!(
            matches!(verdict, Verdict::Allowed(_)),
            "{url} is not allowed"
        );
        if sample >= WARM_UP {
            taken.push(nanoseconds);
        }
    }
    taken.sort_unstable();
    Ok((taken[SAMPLES / 2], taken[SAMPLES / 100 * 99]))
}

fn main() -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:>8} {:>8} {:>10} {:>10}",
        "rules", "hosts", "p50 ns", "p99 ns"
    )?;
    for tools in [1, 10, 100, 1_000] {
        let (config, urls) = many_tools(tools);
        let (median, tail) = measure(&config, &urls)?;
        writeln!(
            out,
            "{:>8} {tools:>8} {median:>10} {tail:>10}",
            tools * RULES_A_TOOL
        )?;
    }
    let hosts = 1;
    for rules in [10, 100, 1_000, 10_000] {
        let (config, urls) = one_host(rules);
        let (median, tail) = measure(&config, &urls)?;
        writeln!(out, "{rules:>8} {hosts:>8} {median:>10} {tail:>10}")?;
    }
    Ok(())
}
