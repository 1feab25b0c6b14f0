//! What is found where, and what is not.

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};

use super::*;
use crate::body::{self, BoxError};

const PAY: &str = "sk_live_x7Yq2LmPz0Rk4TbN8Vd3";
const CRM: &str = "crm-Qw3rTy9UiOp5AsDf1GhJk7";

fn dummy(tool: &str, text: &str, fixed: usize) -> Dummy {
    Dummy {
        tool: tool.parse().unwrap(),
        text: text.to_owned(),
        fixed,
    }
}

fn known() -> Arc<Known> {
    let dummies = Dummies::default();
    dummies
        .learn(vec![dummy("pay", PAY, 8), dummy("crm", CRM, 4)])
        .unwrap();
    dummies.known().next().unwrap().0
}

/// What is said of a request to the tool `pay`, whose credential stands in `authorization`.
fn judged(url: &str, rest: &str, fields: &[(&str, &str)]) -> Result<u32, String> {
    judged_with(url, rest, (fields, &[]))
}

/// The same, with cookies that were taken out.
fn judged_with(
    url: &str,
    rest: &str,
    (fields, cookies): (&[(&str, &str)], &[HeaderValue]),
) -> Result<u32, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    let parse = |text: &str| text.parse::<CanonicalUrl>().unwrap();
    let tool = "pay".parse().unwrap();
    let asked = Asked {
        tool: Some(&tool),
        url: &parse(url),
        rest: &parse(rest),
        headers: &headers,
        cookies,
    };
    let judged = known().judge(&asked, |name| name == "authorization");
    judged.map_err(|misplaced| misplaced.told())
}

fn to_pay(fields: &[(&str, &str)]) -> Result<u32, String> {
    judged("https://pay.example/a", "https://pay.example/a", fields)
}

#[test]
fn in_the_place_of_its_own_credential_a_dummy_is_exchanged() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let bearer = format!("Bearer {PAY}");
    assert_eq!(to_pay(&[("authorization", &bearer)]), Ok(1));
    assert_eq!(
        to_pay(&[("authorization", &bearer), ("authorization", PAY)]),
        Ok(2)
    );
    for user in ["", "x", "ab", "abc", "oauth2"] {
        let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{PAY}")));
        assert_eq!(to_pay(&[("authorization", &basic)]), Ok(1), "{user}");
    }
    let with = format!("https://pay.example/a?key={PAY}");
    assert_eq!(judged(&with, "https://pay.example/a", &[]), Ok(1));
    assert_eq!(to_pay(&[("authorization", "Bearer mine")]), Ok(0));
}

#[test]
fn a_place_in_the_path_or_among_the_cookies_is_one_too_and_for_its_own_dummy_alone() {
    let path = |text: &str| {
        let url = format!("https://pay.example/bot{text}/a");
        judged(&url, "https://pay.example/bot-/a", &[])
    };
    assert_eq!(path(PAY), Ok(1));
    assert_eq!(path(CRM), Err("of crm, in the path".to_owned()));
    let cookie = |text: &str| {
        let cookies = [HeaderValue::try_from(format!("sid={text}")).unwrap()];
        let url = "https://pay.example/a";
        judged_with(url, url, (&[], &cookies))
    };
    assert_eq!(cookie(PAY), Ok(1));
    let misplaced = Err("of crm, in the field cookie".to_owned());
    assert_eq!(cookie(CRM), misplaced);
}

#[test]
fn whose_one_is_is_known_without_a_search_however_often_it_is_there() {
    let both = format!("{PAY} {CRM} ").repeat(10_000);
    let (mut pay, mut crm) = (0, 0);
    known().search.find(both.as_bytes(), |number| match number {
        0 => pay += 1,
        _ => crm += 1,
    });
    assert_eq!((pay, crm), (10_000, 10_000));
}

#[test]
fn anywhere_else_it_is_misplaced_whatever_its_form() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let hexed = hex::encode(PAY);
    let encoded = STANDARD.encode(PAY);
    for value in [PAY, &PAY[8..], &hexed, &encoded] {
        let told = to_pay(&[("x-note", value)]);
        assert_eq!(
            told,
            Err("of pay, in the field x-note".to_owned()),
            "{value}"
        );
    }
    let name = format!("x-{}", &PAY[8..]);
    assert!(to_pay(&[(&name, "1")]).is_err());
    let of_another = format!("Bearer {CRM}");
    let told = to_pay(&[("authorization", &of_another)]);
    assert_eq!(told, Err("of crm, in the field authorization".to_owned()));
    let escaped = PAY
        .bytes()
        .map(|byte| format!("%{byte:02x}"))
        .collect::<String>();
    for (url, spot) in [
        (format!("https://pay.example/{PAY}"), "the path"),
        (format!("https://pay.example/{escaped}"), "the path"),
        (format!("https://pay.example/a?b={PAY}"), "the query"),
        (format!("https://pay.example/a?b={escaped}"), "the query"),
        (format!("https://{}.evil.example/", &PAY[8..]), "the host"),
    ] {
        assert_eq!(
            judged(&url, &url, &[]),
            Err(format!("of pay, in {spot}")),
            "{url}"
        );
    }
}

#[test]
fn a_question_to_a_model_shows_its_key_and_nothing_else() {
    let fields = HeaderMap::from_iter([(header::AUTHORIZATION, PAY.parse().unwrap())]);
    assert_eq!(known().judge_question(&fields, b"{}"), Ok(()));
    let body = format!("{{\"content\":\"{PAY}\"}}");
    let told = known()
        .judge_question(&fields, body.as_bytes())
        .unwrap_err();
    assert_eq!(told.told(), "of pay, in the body");
}

async fn carried(pieces: Vec<Frame<Bytes>>) -> (Result<Bytes, BoxError>, Option<String>) {
    let frames = pieces.into_iter().map(Ok::<_, BoxError>);
    let inner = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
    let alarm = Alarm::default();
    let all = watch::watched(inner, &known(), &alarm).collect().await;
    (
        all.map(http_body_util::Collected::to_bytes),
        alarm.rang().map(Misplaced::told),
    )
}

#[tokio::test]
async fn a_body_never_ends_that_carries_one_however_it_is_cut() {
    let text = format!("some {PAY} more");
    for size in [1, 2, 3, 7, 16, 20, 64] {
        let pieces = text.as_bytes().chunks(size);
        let frames = pieces.map(|piece| Frame::data(Bytes::copy_from_slice(piece)));
        let (all, told) = carried(frames.collect()).await;
        assert!(all.is_err(), "{size}");
        assert_eq!(told.as_deref(), Some("of pay, in the body"), "{size}");
    }
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("x-sum"), PAY.parse().unwrap())]);
    let (all, told) = carried(vec![Frame::data("a".into()), Frame::trailers(trailers)]).await;
    assert!(all.is_err());
    assert_eq!(told.as_deref(), Some("of pay, in the trailer x-sum"));
}

#[tokio::test]
async fn any_other_body_passes_as_it_is() {
    let near = format!("{} {}", &PAY[..20], &CRM[4..20]);
    let pieces = near.as_bytes().chunks(3);
    let frames = pieces.map(|piece| Frame::data(Bytes::copy_from_slice(piece)));
    let (all, told) = carried(frames.collect()).await;
    assert_eq!((all.unwrap(), told), (Bytes::from(near), None));
    let alarm = Alarm::default();
    let body = Dummies::default().watched(body::full("x"), &alarm, false);
    assert_eq!(body.collect().await.unwrap().to_bytes(), "x");
}

#[test]
fn what_could_be_anything_is_no_dummy_and_they_come_once() {
    let learn = |dummy| Dummies::default().learn(vec![dummy]);
    assert!(learn(dummy("pay", PAY, PAY.len() - 13)).is_err());
    assert!(learn(dummy("pay", PAY, PAY.len() + 1)).is_err());
    assert!(learn(dummy("pay", "a b c d e f g h i j k", 0)).is_err());
    assert!(learn(dummy("pay", &"x".repeat(600), 0)).is_err());
    let dummies = Dummies::default();
    dummies.learn(vec![dummy("pay", PAY, 8)]).unwrap();
    assert!(dummies.learn(vec![dummy("pay", PAY, 8)]).is_err());
}
