//! Challenges of a registry, as header lines.

use http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use regseal::auth::relay::direct::Demand;

pub(crate) fn read(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(WWW_AUTHENTICATE, value);
        }
    }
    let demand = Demand::of(&headers);
    for service in &demand.tokens {
        // A realm is printed as a quoted string, and reads the same again.
        let Some(line) = printed(&service.realm, service.service.as_deref()) else {
            continue;
        };
        let again = Demand::of(&HeaderMap::from_iter([(WWW_AUTHENTICATE, line)]));
        assert_eq!(again.tokens, [service.clone()]);
        assert!(!again.basic && again.others.is_empty());
    }
}

fn printed(realm: &str, service: Option<&str>) -> Option<HeaderValue> {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut line = format!("Bearer realm={}", quoted(realm));
    if let Some(service) = service {
        line.push_str(&format!(",service={}", quoted(service)));
    }
    HeaderValue::from_str(&line).ok()
}
