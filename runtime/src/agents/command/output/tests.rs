//! Output of programs, well and badly meant.

use super::*;

fn lines() -> Output {
    Output::read_as(&Reading::Lines(Map::of_our_events()))
}

fn text() -> Output {
    Output::read_as(&Reading::Text)
}

fn deltas(heard: &[Heard]) -> Vec<&str> {
    let said = heard.iter().filter_map(|heard| match heard {
        Heard::Said(Event::Content { delta }) => delta.as_deref(),
        _ => None,
    });
    said.collect()
}

#[test]
fn text_is_told_as_it_comes_and_its_last_line_end_is_left_out() {
    let mut output = text();
    assert_eq!(deltas(&output.read(b"one\n").unwrap()), ["one"]);
    assert_eq!(deltas(&output.read(b"two\n").unwrap()), ["\ntwo"]);
    assert_eq!(output.rest().unwrap(), []);
    assert_eq!(output.answer(), Ok(json!({ "response": "one\ntwo" })));
}

#[test]
fn events_are_told_and_the_answer_is_what_the_program_says() {
    let mut output = lines();
    let said = br#"{"type":"content","delta":"I look."}
{"type":"tool_call","tool":"Read","arguments":"{}","id":"c1"}
{"type":"tool_result","id":"c1","result":"text"}
{"type":"content","delta":"Done."}
{"type":"answer","response":"Done.","score":1}"#;
    let (first, second) = said.split_at(70);
    let mut heard = output.read(first).unwrap();
    heard.extend(output.read(second).unwrap());
    heard.extend(output.rest().unwrap());
    assert_eq!(deltas(&heard), ["I look.", "\n\nDone."]);
    assert!(heard.contains(&Heard::Said(Event::own_tool_result("Read", "text"))));
    assert_eq!(
        output.answer(),
        Ok(json!({ "response": "Done.", "score": 1 }))
    );
}

#[test]
fn what_is_no_event_is_passed_over_and_an_error_is_the_end() {
    let mut output = lines();
    let deep = "[".repeat(100_000);
    for bad in [
        b"\xff\xfe\n".as_slice(),
        b"{\"type\":\"content\",\"delta\":NaN}\n",
        b"{\"type\":\"content\",\"delta\":\"\\ud800\"}\n",
        b"Warning: deprecated\n",
        b"[1]\n",
        format!("{{\"a\":{deep}\n").as_bytes(),
    ] {
        let heard = output.read(bad).unwrap();
        assert!(
            matches!(&heard[..], [Heard::Stray(line)] if line.chars().count() <= STRAY_CHARS_MAX),
            "{heard:?}"
        );
    }
    assert_eq!(output.read(b"\n  \r\n{\"type\":\"x\"}\n").unwrap(), []);
    let error = output.read(b"{\"type\":\"error\",\"message\":\"no money\"}\n");
    assert_eq!(error.unwrap(), []);
    assert_eq!(output.error(), Some("no money"));
    assert_eq!(output.answer(), Err("no money".to_owned()));
    let mut output = lines();
    output.read(b"not json\n").unwrap();
    assert!(output.answer().unwrap_err().contains("none of its 1 lines"));
}

#[test]
fn a_line_without_an_end_is_not_kept() {
    let mut output = lines();
    let piece = vec![b'x'; 1 << 20];
    for _piece in 0..16 {
        assert_eq!(output.read(&piece).unwrap(), []);
        let Manner::Lines { lines, .. } = &output.manner else {
            unreachable!()
        };
        assert!(lines.begun.len() <= LINE_BYTES_MAX);
    }
    let heard = output.read(b"\n{\"type\":\"content\",\"delta\":\"a\"}\n");
    let heard = heard.unwrap();
    assert_eq!(
        heard[0],
        Heard::Stray("a line of 16777216 bytes".to_owned())
    );
    assert_eq!(deltas(&heard), ["a"]);
}

#[test]
fn too_much_is_told_apart() {
    let mut output = text();
    let piece = vec![b'x'; 1 << 20];
    for _piece in 0..8 {
        output.read(&piece).unwrap();
    }
    assert_eq!(output.read(b"x"), Err(TooMuch::Answer));
    let mut output = lines();
    let line = b"{\"type\":\"content\",\"delta\":\"a\"}\n".repeat(1000);
    for _thousand in 0..EVENTS_MAX / 1000 {
        output.read(&line).unwrap();
    }
    assert_eq!(output.read(&line), Err(TooMuch::Events));
    let mut output = lines();
    output.bytes = OUTPUT_BYTES_MAX;
    assert_eq!(output.read(b"x"), Err(TooMuch::Output));
    let mut calls = Calls::default();
    for id in 0..2 * CALLS_MAX {
        calls.made(Some(id.to_string()), "t");
    }
    assert_eq!((calls.names.len(), calls.of("0")), (CALLS_MAX, None));
}
