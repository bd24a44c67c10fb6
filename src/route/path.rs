//! The strict path parser behind [`Route::parse`].

use std::borrow::Cow;

use http::Method;

use super::{Route, RouteError, SEALED_SESSION, TOKEN_PATH, UploadStep};
use crate::oci::{Digest, RepositoryName};

pub(super) fn parse(method: &Method, path: &str) -> Result<Route, RouteError> {
    // The one opens a tunnel, the other shows a request with its credential to whoever answers.
    if matches!(*method, Method::CONNECT | Method::TRACE) {
        return not_allowed("GET, HEAD, POST, PUT, PATCH, DELETE");
    }
    require_canonical(path)?;
    let Some(rest) = path.strip_prefix("/v2/") else {
        return outside(method, path);
    };
    if rest.is_empty() {
        return version(method);
    }
    if rest.starts_with('_') || rest == "auth" || rest == "token" {
        return Ok(Route::Passthrough);
    }
    let segments: Vec<&str> = rest.split('/').collect();
    match segments.as_slice() {
        [name @ .., "tags", "list"] => match *method {
            Method::GET | Method::HEAD => Ok(Route::TagsList(repository(name)?)),
            _ => not_allowed("GET"),
        },
        [name @ .., "manifests", reference] => {
            let name = repository(name)?;
            let reference = unescape_colon(reference).parse()?;
            match *method {
                Method::GET | Method::HEAD => Ok(Route::ManifestPull(name, reference)),
                Method::PUT => Ok(Route::ManifestPush(name, reference)),
                Method::DELETE => Ok(Route::ManifestDelete(name, reference)),
                _ => not_allowed("GET, HEAD, PUT, DELETE"),
            }
        }
        [name @ .., "referrers", subject] => match *method {
            Method::GET | Method::HEAD => Ok(Route::Referrers(repository(name)?, digest(subject)?)),
            _ => not_allowed("GET, HEAD"),
        },
        [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => match *method {
            Method::POST => Ok(Route::UploadStart(repository(name)?)),
            _ => not_allowed("POST"),
        },
        [name @ .., "blobs", "uploads", session] => {
            let step = match *method {
                Method::GET => UploadStep::Status,
                Method::PATCH => UploadStep::Chunk,
                Method::PUT => UploadStep::Finish,
                Method::DELETE => UploadStep::Cancel,
                _ => return not_allowed("GET, PATCH, PUT, DELETE"),
            };
            let name = repository(name)?;
            Ok(match session.strip_prefix(SEALED_SESSION) {
                Some(sealed) => Route::SealedUpload(name, step, sealed.to_owned()),
                None => Route::Upload(name, step),
            })
        }
        [name @ .., "blobs", blob] => match *method {
            Method::GET | Method::HEAD => Ok(Route::BlobPull(repository(name)?, digest(blob)?)),
            Method::DELETE => Ok(Route::BlobDelete(repository(name)?, digest(blob)?)),
            _ => not_allowed("GET, HEAD, DELETE"),
        },
        segments => extension(segments),
    }
}

/// Outside `/v2/` everything passes, but for a registry API mounted below another path (`/repository/x/v2/…`): what
/// is reached there would be seen by no rule.
fn outside(method: &Method, path: &str) -> Result<Route, RouteError> {
    if path == "/v2" {
        return version(method);
    }
    if path == TOKEN_PATH {
        return match *method {
            Method::GET | Method::POST => Ok(Route::Token),
            _ => not_allowed("GET, POST"),
        };
    }
    // Some servers drop what follows a semicolon in a segment.
    let names_the_api = |segment: &str| {
        let name = segment.split(';').next().unwrap_or(segment);
        name.eq_ignore_ascii_case("v2") || matches!(name, "." | "..")
    };
    if path.split('/').any(names_the_api) {
        return Err(RouteError::Unknown);
    }
    Ok(Route::Passthrough)
}

fn version(method: &Method) -> Result<Route, RouteError> {
    match *method {
        Method::GET | Method::HEAD => Ok(Route::Version),
        _ => not_allowed("GET, HEAD"),
    }
}

/// `/v2/<name>/_<extension>/…` (distribution-spec `extensions/`).
fn extension(segments: &[&str]) -> Result<Route, RouteError> {
    let at = segments
        .iter()
        .position(|segment| segment.starts_with('_'))
        .ok_or(RouteError::Unknown)?;
    repository(segments.get(..at).unwrap_or_default())?;
    Ok(Route::Passthrough)
}

fn repository(components: &[&str]) -> Result<RepositoryName, RouteError> {
    components.join("/").parse().or(Err(RouteError::Name))
}

fn digest(segment: &str) -> Result<Digest, RouteError> {
    unescape_colon(segment).parse().or(Err(RouteError::Digest))
}

/// The one escape that clients use without need: the colon of a digest.
fn unescape_colon(segment: &str) -> Cow<'_, str> {
    if segment.contains('%') {
        Cow::Owned(segment.replace("%3A", ":").replace("%3a", ":"))
    } else {
        Cow::Borrowed(segment)
    }
}

fn not_allowed(allow: &'static str) -> Result<Route, RouteError> {
    Err(RouteError::Method { allow })
}

/// Refuses every path that a registry or a server before it may read in another way: what is outside `/v2/` here must
/// not be inside it there. Only the last segment may be empty.
fn require_canonical(path: &str) -> Result<(), RouteError> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err(RouteError::NotCanonical);
    };
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if (segment.is_empty() && !last) || segment == "." || segment == ".." || !is_plain(segment)
        {
            return Err(RouteError::NotCanonical);
        }
    }
    Ok(())
}

/// No backslash or control character, and no escape of a character that needs none (RFC 3986 section 2.3), of a
/// slash, a backslash, a percent sign or a control character.
fn is_plain(segment: &str) -> bool {
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' || byte.is_ascii_control() {
            return false;
        }
        if byte != b'%' {
            continue;
        }
        let mut nibble = || {
            bytes
                .next()
                .and_then(|digit| char::from(digit).to_digit(16))
        };
        let (Some(high), Some(low)) = (nibble(), nibble()) else {
            return false;
        };
        let Some(escaped) = char::from_u32(high * 16 + low) else {
            return false;
        };
        let unreserved =
            escaped.is_ascii_alphanumeric() || matches!(escaped, '-' | '.' | '_' | '~');
        if unreserved || matches!(escaped, '/' | '\\' | '%') || escaped.is_ascii_control() {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oci::Reference;

    const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn get(path: &str) -> Result<Route, RouteError> {
        parse(&Method::GET, path)
    }

    #[test]
    fn names_may_contain_the_words_of_endpoints() {
        let name = |text: &str| text.parse::<RepositoryName>().unwrap();
        let tag = |text: &str| text.parse::<Reference>().unwrap();
        for (path, expected) in [
            (
                "/v2/a/manifests/b/manifests/t",
                Route::ManifestPull(name("a/manifests/b"), tag("t")),
            ),
            (
                "/v2/a/blobs/uploads/manifests/t",
                Route::ManifestPull(name("a/blobs/uploads"), tag("t")),
            ),
            (
                "/v2/manifests/manifests/manifests",
                Route::ManifestPull(name("manifests"), tag("manifests")),
            ),
            ("/v2/tags/tags/list", Route::TagsList(name("tags"))),
            ("/v2/token/tags/list", Route::TagsList(name("token"))),
            (
                "/v2/uploads/blobs/uploads/x",
                Route::Upload(name("uploads"), UploadStep::Status),
            ),
            (
                "/v2/a/blobs/uploads/rs1.x",
                Route::SealedUpload(name("a"), UploadStep::Status, "x".to_owned()),
            ),
        ] {
            assert_eq!(get(path), Ok(expected), "{path}");
        }
    }

    #[test]
    fn what_is_not_of_the_specification_passes_by_rule() {
        for path in [
            "/",
            "/token",
            "/v2/auth",
            "/v2/token",
            "/v2/_catalog",
            "/v2/_ext/x",
            "/v2/a/_ext/x",
            "/jwt/auth",
            "/_regseal",
            "/_regseal/token/",
            "/_regseal/tokens",
            "/a/_regseal/token",
            "/v2/_regseal/token",
        ] {
            assert_eq!(get(path), Ok(Route::Passthrough), "{path}");
        }
        assert_eq!(get("/v2/a/b"), Err(RouteError::Unknown));
        for path in [
            "/V2/a/manifests/t",
            "/v2;x/a/manifests/t",
            "/foo/..;/v2;x/a/manifests/t",
        ] {
            assert_eq!(get(path), Err(RouteError::Unknown), "{path}");
        }
        assert_eq!(
            get("/repository/docker/v2/a/manifests/t"),
            Err(RouteError::Unknown)
        );
        assert_eq!(get("/v2"), Ok(Route::Version));
        assert_eq!(get("/v2/"), Ok(Route::Version));
    }

    #[test]
    fn tokens_are_asked_for_with_get_or_post() {
        for (method, expected) in [
            (Method::GET, Ok(Route::Token)),
            (Method::POST, Ok(Route::Token)),
            (Method::HEAD, not_allowed("GET, POST")),
            (Method::PUT, not_allowed("GET, POST")),
            (Method::DELETE, not_allowed("GET, POST")),
        ] {
            assert_eq!(parse(&method, "/_regseal/token"), expected, "{method}");
        }
        assert_eq!(get("/_regseal//token"), Err(RouteError::NotCanonical));
        assert_eq!(get("/_regseal/%74oken"), Err(RouteError::NotCanonical));
    }

    #[test]
    fn paths_with_a_second_reading_are_refused() {
        for path in [
            "//v2/a/manifests/t",
            "/v2//a/manifests/t",
            "/v2/a/manifests//t",
            "/v2/a/../b/manifests/t",
            "/v2/a/./manifests/t",
            "/v2/a%2Fb/manifests/t",
            "/v2/a%2fb/manifests/t",
            "/v2/%2e%2e/b/manifests/t",
            "/x/../v2/a/manifests/t",
            "/%76%32/a/manifests/t",
            "/v%32/a/manifests/t",
            "/x%5c..%5cv2/a",
            "/x\\v2",
            "/v2/a/manifests/%74",
            "/x%00",
            "/x%",
            "/x%2",
            "/x%252e",
            "",
            "*",
        ] {
            assert_eq!(get(path), Err(RouteError::NotCanonical), "{path:?}");
        }
    }

    #[test]
    fn digests_may_have_an_escaped_colon() {
        let digest: Digest = DIGEST.parse().unwrap();
        let name: RepositoryName = "a".parse().unwrap();
        for path in [
            format!("/v2/a/blobs/{DIGEST}"),
            format!("/v2/a/blobs/{}", DIGEST.replace(':', "%3A")),
        ] {
            let route = get(&path).unwrap();
            assert_eq!(route, Route::BlobPull(name.clone(), digest.clone()));
            assert_eq!(
                route.canonical_path().unwrap(),
                format!("/v2/a/blobs/{DIGEST}")
            );
        }
    }

    #[test]
    fn each_mistake_has_its_error() {
        for (method, path, expected) in [
            (Method::GET, "/v2/A/manifests/t", RouteError::Name),
            (Method::GET, "/v2/manifests/t", RouteError::Name),
            (
                Method::PUT,
                "/v2/a/manifests/sha256:bad",
                RouteError::Digest,
            ),
            (Method::GET, "/v2/a/manifests/-t", RouteError::Tag),
            (Method::GET, "/v2/a/blobs/sha256:bad", RouteError::Digest),
            (Method::GET, "/v2/a/referrers/latest", RouteError::Digest),
            (
                Method::PUT,
                "/v2/",
                RouteError::Method { allow: "GET, HEAD" },
            ),
            (
                Method::POST,
                "/v2/a/tags/list",
                RouteError::Method { allow: "GET" },
            ),
            (
                Method::TRACE,
                "/token",
                RouteError::Method {
                    allow: "GET, HEAD, POST, PUT, PATCH, DELETE",
                },
            ),
            (
                Method::GET,
                "/v2/a/blobs/uploads/",
                RouteError::Method { allow: "POST" },
            ),
        ] {
            assert_eq!(parse(&method, path), Err(expected), "{method} {path}");
        }
    }

    fn names() -> impl Strategy<Value = String> {
        let component = prop_oneof![
            "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}",
            Just("manifests".to_owned()),
            Just("blobs".to_owned()),
            Just("tags".to_owned()),
            Just("referrers".to_owned()),
            Just("uploads".to_owned()),
        ];
        proptest::collection::vec(component, 1..5).prop_map(|components| components.join("/"))
    }

    proptest! {
        #[test]
        fn what_is_forwarded_parses_to_the_same_route(name in names(), tag in "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}") {
            for path in [
                format!("/v2/{name}/manifests/{tag}"),
                format!("/v2/{name}/manifests/{DIGEST}"),
                format!("/v2/{name}/blobs/{DIGEST}"),
                format!("/v2/{name}/referrers/{DIGEST}"),
                format!("/v2/{name}/tags/list"),
            ] {
                let route = get(&path).unwrap();
                prop_assert_eq!(route.canonical_path(), Some(path.clone()));
                prop_assert!(route != Route::Passthrough);
            }
        }

        #[test]
        fn any_path_is_classified_without_panic_and_never_leaves_its_repository(path in "[/a-zA-Z0-9._%:\\\\-]{0,60}") {
            for method in [Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::PATCH] {
                let Ok(route) = parse(&method, &path) else { continue };
                let forwarded = route.canonical_path().unwrap_or_else(|| path.clone());
                prop_assert_eq!(parse(&method, &forwarded).ok(), Some(route));
                let segments: Vec<&str> = forwarded.split('/').collect();
                prop_assert!(!segments.contains(&"..") && !segments.contains(&"."));
                prop_assert!(!forwarded.to_ascii_lowercase().contains("%2f"));
            }
        }
    }
}
