//! Questions and answers as they are on the wire, a folder a format: which bytes a provider gets, what it would do on its own,
//! and what is counted.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use postern_llm::{Api, Format, Meter, Question};

const UPSTREAM: &str = "upstream-1";

fn cases(format: Format) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format.name());
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let cases: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    assert!(!cases.is_empty(), "{}", folder.display());
    cases
}

/// The route of a case, which its name begins with.
fn api(case: &Path) -> Api {
    let name = case.file_name().unwrap().to_str().unwrap();
    match name.split('-').next().unwrap() {
        "chat" => Api::Chat,
        "responses" => Api::Responses,
        "embeddings" => Api::Embeddings,
        "messages" => Api::Messages,
        "count_tokens" => Api::CountTokens,
        other => panic!("no route is called {other}"),
    }
}

#[test]
fn every_format_has_its_folder_and_every_case_holds() {
    for case in Format::ALL.into_iter().flat_map(|format| {
        let routes = move |case: &PathBuf| format.path(api(case)).is_some();
        let cases = cases(format);
        assert!(cases.iter().all(routes), "{cases:?}");
        cases
    }) {
        let text = |name: &str| fs::read_to_string(case.join(name)).unwrap();
        let request = text("request.json");
        let question = Question::read(api(&case), request.as_bytes()).unwrap();
        assert_eq!(question.model(), "fast", "{}", case.display());
        let sent = String::from_utf8(question.addressed_to(UPSTREAM, &[])).unwrap();
        assert_eq!(sent, text("sent.json"), "{}", case.display());
        let acts = question
            .acts()
            .iter()
            .map(|found| format!("{} {}\n", found.act.word(), found.at));
        assert_eq!(
            acts.collect::<String>(),
            text("acts.txt"),
            "{}",
            case.display()
        );
        for (name, meter) in [
            ("answer.json", Meter::whole()),
            ("answer.sse", Meter::stream()),
        ] {
            if let Ok(answer) = fs::read(case.join(name)) {
                counts(&answer, &meter, &text("usage.json"));
            }
        }
    }
}

/// However the answer is cut, the same is counted.
fn counts(answer: &[u8], meter: &Meter, wanted: &str) {
    let wanted: serde_json::Value = serde_json::from_str(wanted).unwrap();
    for size in [1, 2, 3, 7, 64, answer.len()] {
        let mut meter = meter.clone();
        answer.chunks(size).for_each(|piece| meter.push(piece));
        let counted = serde_json::to_value(meter.tokens()).unwrap();
        assert_eq!(counted, wanted, "{}", String::from_utf8_lossy(answer));
    }
}
