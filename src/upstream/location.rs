//! Locations that a registry sends: of upload sessions, of next pages.

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

/// Path and query of a location that names no host, `own`, or `alias`; `None` for any other, where no credential must go,
/// and for what would name another host as soon as it stands alone (RFC 3986 section 4.2).
#[must_use]
pub fn path_on(location: &str, own: &Authority, alias: Option<&str>) -> Option<PathAndQuery> {
    let uri: Uri = location.parse().ok()?;
    let is_own = |authority: &Authority| authority == own || Some(authority.as_str()) == alias;
    let is_of_the_web = |scheme: &Scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS;
    uri.path_and_query()
        .filter(|path| path.as_str().starts_with('/') && !path.as_str().starts_with("//"))
        .filter(|_| uri.authority().is_none_or(is_own))
        .filter(|_| uri.scheme().is_none_or(is_of_the_web))
        .cloned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OWN: &str = "registry:5000";

    fn path(location: &str) -> Option<String> {
        let path = path_on(location, &Authority::from_static(OWN), Some("proxy"));
        path.map(|path| path.to_string())
    }

    #[test]
    fn only_what_is_on_the_registry_itself_has_a_path() {
        for (location, expected, why) in [
            ("/v2/a?b=c", Some("/v2/a?b=c"), "no host"),
            ("http://registry:5000/v2/", Some("/v2/"), "its own"),
            (
                "https://REGISTRY:5000",
                Some("/"),
                "its own, in another case",
            ),
            (
                "http://proxy/v2/",
                Some("/v2/"),
                "what it takes for its own",
            ),
            ("http://registry/v2/", None, "another port"),
            (
                "http://registry:5000@evil/v2/",
                None,
                "a user of another host",
            ),
            ("http://evil/v2/", None, "another host"),
            ("//evil/v2/", None, "another host, by the same scheme"),
            (
                "http://registry:5000//evil/v2/",
                None,
                "another host without what stands before",
            ),
            ("ftp://registry:5000/v2/", None, "another protocol"),
            ("*", None, "no path"),
            ("a/b", None, "below whatever was asked"),
            ("", None, "nothing"),
        ] {
            assert_eq!(path(location).as_deref(), expected, "{location}: {why}");
        }
    }

    proptest! {
        #[test]
        fn a_path_maps_back_to_itself(text in "/([a-zA-Z0-9._~=-][a-zA-Z0-9._~%=/-]{0,40})?(\\?[a-z0-9=&%/_-]{0,40})?") {
            prop_assert_eq!(path(&text), Some(text.clone()));
            prop_assert_eq!(path(&format!("http://{OWN}{text}")), Some(text.clone()));
            prop_assert_eq!(path(&format!("http://elsewhere{text}")), None);
        }

        #[test]
        fn whatever_is_sent_there_is_sent_to_the_registry(text in "(http://registry:5000|//|/|\\*|@|proxy)*[ -~]{0,20}") {
            if let Some(path) = path(&text) {
                let sent: Uri = format!("http://{OWN}{path}").parse().unwrap();
                prop_assert_eq!(sent.authority().map(Authority::as_str), Some(OWN));
            }
        }
    }
}
