//! What masking means for header fields: which ones an upstream gets, and values that come back. Never touches a name.

use http::{HeaderMap, HeaderValue, header};
use postern_contract::config::Encoding;

use super::scanner::Scanners;

/// What an agent's program would like, told so that an answer can be looked through.
const PLAIN: HeaderValue = HeaderValue::from_static("identity");

/// Has a request ask for an answer that can be looked through, and for all of it: a part of one might begin in the middle
/// of a credential.
pub(crate) fn ask_plainly(fields: &mut HeaderMap, encoding: Encoding) {
    let wanted = match encoding {
        Encoding::Identity => PLAIN,
        Encoding::Decode => HeaderValue::from_static(super::decode::NAMES),
    };
    fields.insert(header::ACCEPT_ENCODING, wanted);
    if fields.contains_key("grpc-accept-encoding") {
        fields.insert("grpc-accept-encoding", PLAIN);
    }
    fields.remove(header::RANGE);
    fields.remove(header::IF_RANGE);
}

/// Masks every value, and says how many places that took.
pub(crate) fn mask(fields: &mut HeaderMap, scanner: &Scanners) -> u32 {
    let mut hits = 0;
    for value in fields.values_mut() {
        if scanner.is_clean(value.as_bytes()) {
            continue;
        }
        let mut bytes = value.as_bytes().to_vec();
        hits += scanner.mask(&mut bytes);
        // What was put in is allowed anywhere.
        *value = HeaderValue::from_bytes(&bytes).unwrap_or(HeaderValue::from_static("*"));
    }
    hits
}
