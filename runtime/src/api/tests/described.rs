//! `/openapi.json` beside the router: what the one says, the other serves, and the reverse.

use super::*;

const METHODS: [&str; 6] = ["get", "post", "put", "delete", "patch", "options"];

/// Fills a path's places: agents are played, other things are not there.
fn filled(path: &str) -> String {
    path.replace("{name}", "desk")
        .replace("{id}", "run-1")
        .replace("{action}", "act-1")
}

#[tokio::test]
async fn every_route_stands_in_the_document_and_the_reverse() {
    let bench = bench(0).await;
    let document = send(&bench, request("GET", "/openapi.json", "")).await;
    assert_eq!(document.headers["content-type"], "application/json");
    let paths = document.body["paths"].as_object().unwrap();
    let served: Vec<_> = routes::routes()
        .iter()
        .flat_map(|route| [route.path.to_owned(), route.path_of_agent()])
        .filter(|path| path != "/agents/{name}/startupz")
        .chain([openapi::PATH.to_owned()])
        .collect();
    let mut described: Vec<_> = paths.keys().cloned().collect();
    described.sort();
    let mut wanted = served;
    wanted.sort();
    assert_eq!(described, wanted);
    for (path, item) in paths {
        for method in METHODS {
            let got = send(&bench, request(&method.to_uppercase(), &filled(path), "")).await;
            let refused = ["not found", "method not allowed"];
            let is_served = !refused.iter().any(|text| got.body["error"] == *text);
            let is_described = item.get(method).is_some();
            assert_eq!(is_served, is_described, "{method} {path}: {}", got.body);
        }
    }
}

#[tokio::test]
async fn every_answer_is_of_a_described_status_and_every_shape_that_is_named_is_there() {
    let bench = bench(2).await;
    let document = send(&bench, request("GET", "/openapi.json", "")).await.body;
    let text = document.to_string();
    let shapes = document["components"]["schemas"].as_object().unwrap();
    for name in text.split("#/components/schemas/").skip(1) {
        let name = name.split('"').next().unwrap();
        assert!(shapes.contains_key(name), "{name}");
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let got = send(&bench, request(&method.to_uppercase(), &filled(path), "{}")).await;
            let status = got.status.as_u16().to_string();
            assert!(
                operation["responses"].get(&status).is_some(),
                "{method} {path}: {status}"
            );
        }
    }
}

#[tokio::test]
async fn every_operation_but_the_probes_wants_a_caller_where_one_is_required() {
    let mut bench = bench(0).await;
    bench.app = bench.app.clone().identifying(None, true);
    let document = send(&bench, request("GET", "/openapi.json", "")).await.body;
    let open = ["/", "/healthz", "/readyz", "/startupz", "/openapi.json"];
    for (path, item) in document["paths"].as_object().unwrap() {
        let is_open = path == "/agents/{name}" || open.iter().any(|end| path.ends_with(end));
        for method in item.as_object().unwrap().keys() {
            let asked = request(&method.to_uppercase(), &filled(path), "{}");
            let got = send(&bench, asked).await;
            assert_eq!(got.status == 401, !is_open, "{method} {path}: {}", got.body);
            let challenge = got.headers.get("www-authenticate");
            assert_eq!(challenge.is_some(), !is_open);
        }
    }
}
