//! Locations that a registry sends: no credential goes where they point, unless that is the registry itself.

use http::Uri;
use http::uri::{Authority, PathAndQuery};
use regseal::upstream::location::path_on;

const OWN: &str = "registry.example.com:5000";
const ALIAS: &str = "proxy.example.com";

pub(crate) fn read(bytes: &[u8]) {
    let Ok(location) = std::str::from_utf8(bytes) else {
        return;
    };
    let own = Authority::from_static(OWN);
    for alias in [None, Some(ALIAS)] {
        let Some(path) = path_on(location, &own, alias) else {
            continue;
        };
        let uri: Uri = location.parse().unwrap();
        let is_known = |host: &Authority| *host == own || Some(host.as_str()) == alias;
        assert!(
            uri.authority().is_none_or(is_known),
            "{location:?} is taken for the registry's own"
        );
        // What is sent, and what clients are told, is on the registry itself, whatever stood before it.
        let sent: Uri = format!("http://{OWN}{path}").parse().unwrap();
        assert_eq!(sent.authority(), Some(&own), "{location:?}");
        // An empty path is the root.
        let text = sent.path_and_query().map(PathAndQuery::as_str);
        assert_eq!(text, Some(path.as_str()), "{location:?}");
        assert!(!path.as_str().starts_with("//"), "{location:?}");
        let again = path_on(path.as_str(), &own, None);
        assert_eq!(
            again.as_ref().map(PathAndQuery::as_str),
            Some(path.as_str())
        );
    }
}
