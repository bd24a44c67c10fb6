//! Where the registry behind sends its clients: the locations of uploads and redirects, resolved and judged.
//!
//! regseal goes to such a place in the name of the client, from inside a network that the client may not reach. So it
//! goes nowhere that the registry could not be itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use thiserror::Error;

/// A place that the registry behind has named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the registry itself, path and query verbatim: upload state in queries is signed by its registry.
    Own(PathAndQuery),
    /// On another host.
    Elsewhere(Uri),
}

/// Why regseal does not go where the registry behind sends (502).
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PlaceError {
    /// It is no location.
    #[error("the registry behind named a location that cannot be read")]
    Unreadable,
    /// It would go on in clear what came encrypted.
    #[error("the registry behind named a location without encryption")]
    Downgrade,
    /// The host is an address that only regseal itself, its machine or its network may reach.
    #[error("the registry behind named a location at an address that regseal does not go to")]
    Address,
    /// The path, on the registry itself, is none of what was asked for.
    #[error("the registry behind named a location of something else")]
    Unrelated,
    /// It sends on and on.
    #[error("the registry behind redirects too often")]
    TooFar,
}

/// From how near a host can be reached, by what its name shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// A public address, or a name.
    Public,
    /// An address of a private network.
    Private,
    /// The machine itself.
    Loopback,
    /// A link, where clouds serve credentials to machines, or what is no address of one host.
    Link,
}

impl Place {
    /// The place that `location` names in an answer from `base`.
    ///
    /// `names` are those by which the registry behind may call itself, beside the host of `registry`; the scheme it
    /// believes to have does not matter.
    ///
    /// # Errors
    /// It is no location.
    pub fn resolve<'a>(
        location: &str,
        base: &Uri,
        registry: &Authority,
        mut names: impl Iterator<Item = &'a str>,
    ) -> Result<Self, PlaceError> {
        let uri = absolute(location, base).ok_or(PlaceError::Unreadable)?;
        let (Some(authority), Some(path)) = (uri.authority(), uri.path_and_query()) else {
            return Err(PlaceError::Unreadable);
        };
        if authority.as_str().contains('@') {
            return Err(PlaceError::Unreadable);
        }
        let own = same_host(authority.as_str(), registry.as_str())
            || names.any(|name| same_host(authority.as_str(), name));
        if own {
            return Ok(Self::Own(path.clone()));
        }
        match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS => {
                Ok(Self::Elsewhere(uri))
            }
            Some(_) | None => Err(PlaceError::Unreadable),
        }
    }

    /// The place, if regseal may go there from `base`; `least` is what it may reach wherever the registry is.
    ///
    /// # Errors
    /// It would be less safe than `base`, or nearer than `registry`.
    pub fn checked(
        self,
        base: &Uri,
        registry: &Authority,
        least: Reach,
    ) -> Result<Self, PlaceError> {
        if let Self::Elsewhere(uri) = &self {
            if base.scheme() == Some(&Scheme::HTTPS) && uri.scheme() != Some(&Scheme::HTTPS) {
                return Err(PlaceError::Downgrade);
            }
            if Reach::of(uri.host().unwrap_or_default()) > Reach::of(registry.host()).max(least) {
                return Err(PlaceError::Address);
            }
        }
        Ok(self)
    }
}

impl Reach {
    fn of(host: &str) -> Self {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse::<IpAddr>() {
            return match address.to_canonical() {
                IpAddr::V4(address) => Self::of_v4(address),
                IpAddr::V6(address) => Self::of_v6(address),
            };
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let last = name.rsplit('.').next().unwrap_or_default();
        if last == "localhost" {
            return Self::Loopback;
        }
        // An address in a form that resolvers read and nobody writes: `127.1`, `0x7f000001`.
        if last.is_empty() || last.starts_with(|first: char| first.is_ascii_digit()) {
            return Self::Link;
        }
        Self::Public
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        // RFC 6598: the network of a provider.
        let [first, second, ..] = address.octets();
        if address.is_link_local() || address.is_broadcast() || address.is_multicast() {
            Self::Link
        } else if address.is_loopback() || first == 0 {
            Self::Loopback
        } else if address.is_private() || (first == 100 && second & 0xc0 == 64) {
            Self::Private
        } else {
            Self::Public
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        if let Some(inner) = embedded(address) {
            return Self::of_v4(inner);
        }
        if address.is_unicast_link_local() || address.is_multicast() {
            Self::Link
        } else if address.is_loopback() || address.is_unspecified() {
            Self::Loopback
        } else if address.is_unique_local() {
            Self::Private
        } else {
            Self::Public
        }
    }
}

/// The IPv4 address that gateways read in one of IPv6: compatible (RFC 4291 section 2.5.5.1), 6to4 (RFC 3056), and of
/// translators (RFC 6052).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(of(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

/// Host and port, where the port of a scheme may be written or left out.
#[must_use]
pub fn same_host(one: &str, other: &str) -> bool {
    let plain = |authority: &'_ str| -> String {
        let bare = authority.strip_suffix(":443");
        let bare = bare.or_else(|| authority.strip_suffix(":80"));
        bare.unwrap_or(authority).to_ascii_lowercase()
    };
    plain(one) == plain(other)
}

/// RFC 3986 section 5.2, without the removal of dot segments.
fn absolute(location: &str, base: &Uri) -> Option<Uri> {
    let scheme = base.scheme_str()?;
    let authority = base.authority()?;
    let text = if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{authority}{}{location}", base.path())
    } else if has_scheme(location) {
        location.to_owned()
    } else {
        let (folder, _) = base.path().rsplit_once('/')?;
        format!("{scheme}://{authority}{folder}/{location}")
    };
    text.parse().ok()
}

fn has_scheme(location: &str) -> bool {
    let Some((scheme, _)) = location.split_once(':') else {
        return false;
    };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN_NAME: &str = "proxy.example:8080";

    fn resolve(location: &str, base: &str) -> Result<Place, PlaceError> {
        let base: Uri = base.parse().unwrap();
        let registry = Authority::from_static("registry:5000");
        Place::resolve(location, &base, &registry, [OWN_NAME].into_iter())
    }

    #[test]
    fn a_location_is_on_the_registry_or_elsewhere() {
        const SESSION: &str = "http://registry:5000/v2/a/blobs/uploads/u?_state=1";
        let own = |path: &'static str| Ok(Place::Own(PathAndQuery::from_static(path)));
        let elsewhere = |uri: &'static str| Ok(Place::Elsewhere(Uri::from_static(uri)));
        for (location, base, expected) in [
            (
                "http://registry:5000/v2/a/blobs/uploads/u?_state=a%3D%3D&x=1",
                SESSION,
                own("/v2/a/blobs/uploads/u?_state=a%3D%3D&x=1"),
            ),
            ("https://Registry:5000/a", SESSION, own("/a")),
            ("https://proxy.example:8080/a", SESSION, own("/a")),
            ("/v2/a", SESSION, own("/v2/a")),
            ("?_state=2", SESSION, own("/v2/a/blobs/uploads/u?_state=2")),
            ("w?x=a:b", SESSION, own("/v2/a/blobs/uploads/w?x=a:b")),
            (
                "https://storage.example/u?sig=%2F",
                SESSION,
                elsewhere("https://storage.example/u?sig=%2F"),
            ),
            (
                "//storage.example/u",
                SESSION,
                elsewhere("http://storage.example/u"),
            ),
            (
                "/u",
                "https://storage.example/t",
                elsewhere("https://storage.example/u"),
            ),
            (
                "u",
                "https://storage.example/a/t",
                elsewhere("https://storage.example/a/u"),
            ),
            (
                "http://registry:5000/x",
                "https://storage.example/t",
                own("/x"),
            ),
            (
                "http://registry:5000@elsewhere/",
                SESSION,
                Err(PlaceError::Unreadable),
            ),
            ("file:///etc/passwd", SESSION, Err(PlaceError::Unreadable)),
            (
                "ftp://storage.example/u",
                SESSION,
                Err(PlaceError::Unreadable),
            ),
            ("http://a b/", SESSION, Err(PlaceError::Unreadable)),
        ] {
            assert_eq!(resolve(location, base), expected, "{location} from {base}");
        }
        assert!(same_host("a.example:443", "A.example"));
        assert!(!same_host("a.example:444", "a.example"));
    }

    #[test]
    fn regseal_goes_where_the_registry_could_be_and_not_in_clear() {
        let named = "https://registry.example";
        for (base, location, least, expected, why) in [
            (
                named,
                "https://s3.example/u",
                Reach::Public,
                Ok(()),
                "a name",
            ),
            (
                named,
                "https://8.8.8.8/u",
                Reach::Public,
                Ok(()),
                "a public address",
            ),
            (
                named,
                "http://s3.example/u",
                Reach::Public,
                Err(PlaceError::Downgrade),
                "in clear",
            ),
            (
                named,
                "https://10.0.0.1/u",
                Reach::Public,
                Err(PlaceError::Address),
                "private",
            ),
            (
                named,
                "https://10.0.0.1/u",
                Reach::Private,
                Ok(()),
                "private, and allowed",
            ),
            (
                named,
                "https://[fd00::1]/u",
                Reach::Public,
                Err(PlaceError::Address),
                "private",
            ),
            (
                named,
                "https://100.64.0.1/u",
                Reach::Public,
                Err(PlaceError::Address),
                "shared",
            ),
            (
                named,
                "https://127.0.0.1/u",
                Reach::Private,
                Err(PlaceError::Address),
                "loopback",
            ),
            (
                named,
                "https://[::1]/u",
                Reach::Private,
                Err(PlaceError::Address),
                "loopback",
            ),
            (
                named,
                "https://[::ffff:127.0.0.1]/u",
                Reach::Private,
                Err(PlaceError::Address),
                "loopback as IPv6",
            ),
            (
                named,
                "https://[::127.0.0.1]/u",
                Reach::Private,
                Err(PlaceError::Address),
                "loopback in the older form",
            ),
            (
                named,
                "https://[64:ff9b::a9fe:a9fe]/u",
                Reach::Private,
                Err(PlaceError::Address),
                "link-local behind a translator",
            ),
            (
                named,
                "https://[2002:7f00:1::]/u",
                Reach::Private,
                Err(PlaceError::Address),
                "loopback by 6to4",
            ),
            (
                named,
                "https://0.0.0.0/u",
                Reach::Private,
                Err(PlaceError::Address),
                "any",
            ),
            (
                named,
                "https://LOCALHOST./u",
                Reach::Private,
                Err(PlaceError::Address),
                "its name",
            ),
            (
                named,
                "https://a.localhost/u",
                Reach::Private,
                Err(PlaceError::Address),
                "below it",
            ),
            (
                named,
                "https://127.1/u",
                Reach::Private,
                Err(PlaceError::Address),
                "shortened",
            ),
            (
                named,
                "https://2130706433/u",
                Reach::Private,
                Err(PlaceError::Address),
                "a number",
            ),
            (
                named,
                "https://0x7f000001/u",
                Reach::Private,
                Err(PlaceError::Address),
                "in hex",
            ),
            (
                named,
                "https://169.254.169.254/u",
                Reach::Private,
                Err(PlaceError::Address),
                "the metadata of a cloud",
            ),
            (
                "http://10.0.0.9",
                "http://192.168.1.1/u",
                Reach::Public,
                Ok(()),
                "both private",
            ),
            (
                "http://127.0.0.1:5000",
                "http://127.0.0.1:9/u",
                Reach::Public,
                Ok(()),
                "both here",
            ),
            (
                "http://localhost:5000",
                "http://10.0.0.1/u",
                Reach::Public,
                Ok(()),
                "farther",
            ),
            (
                "http://127.0.0.1:5000",
                "http://169.254.169.254/u",
                Reach::Private,
                Err(PlaceError::Address),
                "metadata, from here",
            ),
        ] {
            let base: Uri = base.parse().unwrap();
            let registry = base.authority().unwrap();
            let place = Place::resolve(location, &base, registry, [].into_iter()).unwrap();
            let checked = place.clone().checked(&base, registry, least);
            assert_eq!(checked, expected.map(|()| place), "{why}: {location}");
        }
    }
}
