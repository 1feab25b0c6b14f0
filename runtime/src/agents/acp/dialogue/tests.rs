//! What agents say, in order and out of it.

use postern_invoke::Event;

use super::*;

fn begun() -> Dialogue {
    let mut dialogue = Dialogue::about("hi".to_owned(), "/workspace");
    drop(dialogue.greeting());
    dialogue
}

fn hear(dialogue: &mut Dialogue, message: &Value) -> Vec<Move> {
    dialogue.read(&line(message)).unwrap()
}

fn reply(id: u64, result: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

fn sent(moves: &[Move]) -> Value {
    match moves {
        [Move::Send(line)] => serde_json::from_slice(line).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// One whose agent has the message.
fn asking() -> Dialogue {
    let mut dialogue = begun();
    drop(hear(
        &mut dialogue,
        &reply(1, &json!({ "protocolVersion": 1 })),
    ));
    drop(hear(&mut dialogue, &reply(2, &json!({ "sessionId": "s" }))));
    assert!(dialogue.has_begun());
    dialogue
}

fn update(session: &str, update: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": "session/update", "params": { "sessionId": session, "update": update } })
}

fn chunk(text: &str) -> Value {
    json!({ "sessionUpdate": "agent_message_chunk", "content": { "type": "text", "text": text } })
}

fn content(text: &str) -> Move {
    let delta = Some(text.to_owned());
    Move::Tell(Heard::Said(Event::Content { delta }))
}

#[test]
fn a_session_is_gone_on_with_where_the_agent_can_and_knows_it() {
    let greeted = |can: bool| {
        let dialogue = Dialogue::about("hi".to_owned(), "/workspace");
        let mut dialogue = dialogue.after(Some("old".to_owned()));
        drop(dialogue.greeting());
        let capabilities = json!({ "loadSession": can });
        let hello = json!({ "protocolVersion": 1, "agentCapabilities": capabilities });
        let next = sent(&hear(&mut dialogue, &reply(1, &hello)));
        (dialogue, next)
    };
    let (_, next) = greeted(false);
    assert_eq!(next["method"], "session/new");
    let (mut dialogue, next) = greeted(true);
    assert_eq!(
        (&next["method"], &next["params"]["sessionId"]),
        (&json!("session/load"), &json!("old"))
    );
    // What was said before is no part of the answer.
    assert_eq!(hear(&mut dialogue, &update("old", &chunk("earlier"))), []);
    let next = sent(&hear(&mut dialogue, &reply(2, &Value::Null)));
    assert_eq!(
        (&next["method"], &next["params"]["sessionId"]),
        (&json!("session/prompt"), &json!("old"))
    );
    let told = hear(&mut dialogue, &update("old", &chunk("now")));
    assert_eq!(told, [content("now")]);
    assert_eq!(dialogue.session(), Some("old"));
    let (mut dialogue, _) = greeted(true);
    let error = json!({ "jsonrpc": "2.0", "id": 2, "error": { "code": -32602, "message": "no such session" } });
    let next = sent(&hear(&mut dialogue, &error));
    assert_eq!(next["method"], "session/new");
    drop(hear(
        &mut dialogue,
        &reply(3, &json!({ "sessionId": "new" })),
    ));
    assert_eq!(dialogue.session(), Some("new"));
}

#[test]
fn an_agent_is_greeted_asked_and_heard_to_its_end() {
    let mut dialogue = Dialogue::about("hi".to_owned(), "/workspace");
    let greeting: Value = serde_json::from_slice(&dialogue.greeting()).unwrap();
    assert_eq!(greeting["method"], "initialize");
    assert_eq!(greeting["params"]["clientCapabilities"]["terminal"], false);
    assert_eq!(dialogue.cancel(), None);
    let opened = sent(&hear(
        &mut dialogue,
        &reply(1, &json!({ "protocolVersion": 1 })),
    ));
    assert_eq!(
        (&opened["method"], &opened["params"]),
        (
            &json!("session/new"),
            &json!({ "cwd": "/workspace", "mcpServers": [] })
        )
    );
    let asked = sent(&hear(
        &mut dialogue,
        &reply(2, &json!({ "sessionId": "s" })),
    ));
    assert_eq!(asked["params"]["prompt"][0]["text"], "hi");
    let told = hear(&mut dialogue, &update("s", &chunk("a")));
    assert_eq!(told, [content("a")]);
    let cancel = dialogue
        .cancel()
        .map(|line| serde_json::from_slice::<Value>(&line).unwrap());
    assert_eq!(cancel.unwrap()["method"], "session/cancel");
    let over = hear(
        &mut dialogue,
        &reply(3, &json!({ "stopReason": "end_turn" })),
    );
    let answer = json!({ "response": "a", "stop_reason": "end_turn" });
    assert_eq!(over, [Move::Over(Ok(answer))]);
    assert_eq!(dialogue.cancel(), None);
}

#[test]
fn what_comes_out_of_order_is_nothing() {
    let mut dialogue = begun();
    for odd in [
        reply(0, &json!({ "protocolVersion": 1 })),
        reply(2, &json!({ "sessionId": "s" })),
        reply(3, &json!({ "stopReason": "end_turn" })),
        update("s", &chunk("too early")),
        json!({ "id": "1", "result": { "protocolVersion": 1 } }),
        json!({ "method": 7 }),
        json!({ "method": "no/such", "params": null }),
        json!({ "id": [1], "method": "fs/read_text_file" }),
        json!({ "id": "x".repeat(2000), "method": "fs/read_text_file" }),
        json!({}),
    ] {
        assert_eq!(hear(&mut dialogue, &odd), [], "{odd}");
    }
    let mut dialogue = asking();
    assert_eq!(hear(&mut dialogue, &update("other", &chunk("x"))), []);
    assert_eq!(
        hear(&mut dialogue, &reply(2, &json!({ "sessionId": "t" }))),
        []
    );
    for garbage in [
        b"\xff\xfe{\n".as_slice(),
        b"{\"id\":3,\n",
        b"[1]\n",
        &[b"[".repeat(200_000).as_slice(), b"\n"].concat(),
        &[b"x".repeat(5 << 20).as_slice(), b"\n"].concat(),
    ] {
        let moves = dialogue.read(garbage).unwrap();
        assert!(
            matches!(moves.as_slice(), [Move::Tell(Heard::Stray(_))]),
            "{moves:?}"
        );
    }
    assert_eq!(dialogue.read(b"\n\n  \n").unwrap(), []);
    assert_eq!(
        hear(&mut dialogue, &update("s", &chunk("a"))),
        [content("a")]
    );
}

#[test]
fn what_we_do_not_offer_is_refused_and_a_permission_is_put_to_somebody() {
    let mut dialogue = asking();
    for method in ["fs/read_text_file", "fs/write_text_file", "terminal/create"] {
        let asked = json!({ "id": "r", "method": method, "params": { "sessionId": "s" } });
        let refused = sent(&hear(&mut dialogue, &asked));
        assert_eq!(refused["error"]["code"], NO_SUCH_METHOD);
    }
    let ask = |session: &str| {
        json!({ "id": 0, "method": "session/request_permission", "params": {
            "sessionId": session, "toolCall": { "toolCallId": "c", "title": "Write" },
            "options": [{ "optionId": "no", "name": "No", "kind": "reject_once" }],
        } })
    };
    let moves = hear(&mut dialogue, &ask("s"));
    let [Move::Tell(_), Move::Decide(permission)] = moves.as_slice() else {
        panic!("{moves:?}")
    };
    assert_eq!(
        (&permission.id, permission.tool.as_str()),
        (&json!(0), "Write")
    );
    let other = sent(&hear(&mut dialogue, &ask("other")));
    assert_eq!(other["result"]["outcome"]["outcome"], "cancelled");
}

#[test]
fn an_agent_that_cannot_be_talked_to_says_why() {
    let over = |moves: &[Move]| match moves {
        [Move::Over(Err(why))] => why.clone(),
        other => panic!("{other:?}"),
    };
    for odd in [json!({ "protocolVersion": 2 }), json!({}), json!(null)] {
        let told = over(&hear(&mut begun(), &reply(1, &odd)));
        assert!(told.contains("version 1"), "{told}");
    }
    let error = json!({ "id": 1, "error": { "code": -32000, "message": "log in first" } });
    let told = over(&hear(&mut begun(), &error));
    assert_eq!(told, "it answered `initialize` with an error: log in first");
    let mut opening = begun();
    drop(hear(
        &mut opening,
        &reply(1, &json!({ "protocolVersion": 1 })),
    ));
    let long = json!({ "sessionId": "x".repeat(2000) });
    assert!(over(&hear(&mut opening, &reply(2, &long))).contains("no id"));
    for (reason, why) in [
        ("cancelled", "cancelled"),
        ("refusal", "refused"),
        ("bored", "no reason"),
    ] {
        let stopped = reply(3, &json!({ "stopReason": reason }));
        let told = over(&hear(&mut asking(), &stopped));
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn a_flood_of_anything_ends_the_run() {
    for flood in [
        json!({ "method": "$/progress" }),
        json!({ "id": 1, "method": "terminal/create" }),
        reply(9, &json!({})),
        update("s", &json!({ "sessionUpdate": "agent_thought_chunk" })),
        update("s", &chunk("x")),
        json!(7),
    ] {
        let mut dialogue = asking();
        dialogue.output.has_told(100);
        let lines = line(&flood).repeat(101);
        let ended = dialogue.read(&lines).err();
        assert_eq!(ended, Some(TooMuch::Events), "{flood}");
    }
}
