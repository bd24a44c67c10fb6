//! Which token services a credential may go to.

use http::Uri;
use http::uri::Scheme;

/// Where a token service may be: what is configured, else the host of the registry behind.
#[derive(Clone, Debug)]
pub(super) struct Pinning {
    upstream: Uri,
    realms: Vec<Uri>,
    public: Option<Uri>,
}

/// What tells one server from another.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    is_encrypted: bool,
    host: String,
    port: u16,
}

impl Pinning {
    /// `upstream` is the registry behind, `public` how clients reach this server.
    pub(super) fn new(upstream: Uri, realms: Vec<Uri>, public: Option<Uri>) -> Self {
        Self {
            upstream,
            realms,
            public,
        }
    }

    /// The realm as a place where credentials may go; `None` if they must not. A registry that believes this server's
    /// name, or `own`, to be its own means itself.
    pub(super) fn allowed(&self, realm: &str, own: Option<&str>) -> Option<Uri> {
        let realm = self.as_meant(realm.parse().ok()?, own)?;
        let origin = Origin::of(&realm)?;
        let upstream = Origin::of(&self.upstream)?;
        let allowed = if self.realms.is_empty() {
            origin.host == upstream.host && (origin.is_encrypted || !upstream.is_encrypted)
        } else {
            let mut listed = self.realms.iter().filter_map(Origin::of);
            listed.any(|listed| listed == origin)
        };
        allowed.then_some(realm)
    }

    fn as_meant(&self, realm: Uri, own: Option<&str>) -> Option<Uri> {
        let authority = realm.authority()?;
        let is_public = self.public.as_ref().and_then(Uri::authority) == Some(authority);
        if !is_public && !own.is_some_and(|own| own.eq_ignore_ascii_case(authority.as_str())) {
            return Some(realm);
        }
        let mut parts = self.upstream.clone().into_parts();
        parts.path_and_query = realm.into_parts().path_and_query;
        Uri::from_parts(parts).ok()
    }
}

impl Origin {
    fn of(uri: &Uri) -> Option<Self> {
        let is_encrypted = *uri.scheme()? == Scheme::HTTPS;
        if !is_encrypted && *uri.scheme()? != Scheme::HTTP {
            return None;
        }
        let authority = uri.authority()?;
        let port = authority.port_u16();
        let text = authority.as_str();
        // A name before the host is there to deceive, and what is no port is none.
        if text.contains('@') || (port.is_none() && text.len() != authority.host().len()) {
            return None;
        }
        Some(Self {
            is_encrypted,
            host: authority.host().to_ascii_lowercase(),
            port: port.unwrap_or(if is_encrypted { 443 } else { 80 }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinning(upstream: &str, realms: &[&str], public: Option<&str>) -> Pinning {
        Pinning::new(
            upstream.parse().unwrap(),
            realms.iter().map(|realm| realm.parse().unwrap()).collect(),
            public.map(|url| url.parse().unwrap()),
        )
    }

    #[test]
    fn credentials_go_to_the_host_of_the_registry_or_to_what_is_configured() {
        let by_host = pinning("https://registry.example:5000", &[], None);
        let in_clear = pinning("http://registry.example", &[], None);
        let listed = pinning(
            "https://registry.example",
            &["https://auth.example/token", "http://10.0.0.1:8080"],
            None,
        );
        for (pinning, realm, expected, why) in [
            (
                &by_host,
                "https://registry.example/token?x=1",
                true,
                "the same host",
            ),
            (&by_host, "https://REGISTRY.example:7/t", true, "any port"),
            (
                &by_host,
                "http://registry.example:5000/t",
                false,
                "in clear",
            ),
            (&by_host, "https://auth.example/t", false, "another host"),
            (
                &by_host,
                "https://registry.example.evil/t",
                false,
                "a longer name",
            ),
            (
                &by_host,
                "https://a.registry.example/t",
                false,
                "a name below",
            ),
            (
                &by_host,
                "https://registry.example@evil/t",
                false,
                "the host is evil",
            ),
            (
                &by_host,
                "https://u@registry.example/t",
                false,
                "somebody's name",
            ),
            (&by_host, "https://registry.example:/t", false, "no port"),
            (
                &by_host,
                "https://registry.example:99999/t",
                false,
                "no port",
            ),
            (&by_host, "ftp://registry.example/t", false, "no HTTP"),
            (&by_host, "//registry.example/t", false, "no scheme"),
            (&by_host, "/token", false, "no host"),
            (&by_host, "", false, "nothing"),
            (&in_clear, "http://registry.example:81/t", true, "as before"),
            (&in_clear, "https://registry.example/t", true, "encrypted"),
            (&listed, "https://auth.example/other", true, "one origin"),
            (&listed, "https://auth.example:443/t", true, "its port"),
            (&listed, "http://10.0.0.1:8080/t", true, "as configured"),
            (&listed, "http://10.0.0.1/t", false, "another port"),
            (&listed, "http://auth.example/t", false, "in clear"),
            (&listed, "https://registry.example/t", false, "not listed"),
        ] {
            let allowed = pinning.allowed(realm, None);
            assert_eq!(allowed.is_some(), expected, "{realm}: {why}");
        }
    }

    #[test]
    fn a_registry_that_takes_this_server_for_itself_means_itself() {
        let public = pinning("http://registry:5000", &[], Some("https://public.example/"));
        for (realm, own, expected) in [
            (
                "https://public.example/v2/token?a=b",
                None,
                Some("http://registry:5000/v2/token?a=b"),
            ),
            (
                "https://proxy:8080/v2/auth",
                Some("proxy:8080"),
                Some("http://registry:5000/v2/auth"),
            ),
            ("https://proxy:8080/v2/auth", None, None),
            ("https://proxy:8080/v2/auth", Some("proxy"), None),
        ] {
            let meant = public.allowed(realm, own).map(|uri| uri.to_string());
            assert_eq!(meant.as_deref(), expected, "{realm}");
        }
    }
}
