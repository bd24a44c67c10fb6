//! What proxies say of the clients that they speak for: `Forwarded` (RFC 7239) and `X-Forwarded-For`, `-Proto` and `-Host`.
//!
//! Each proxy adds what it knows at the right. The client is the right-most address that is not one of a proxy that is
//! believed: whatever stands left of it was sent by that client. Scheme and host are those of the same place.

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, Scheme};

use super::origin::{Contradiction, is_plain_host};

/// What is known of a client.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Forwarded {
    pub(super) client: Option<IpAddr>,
    pub(super) scheme: Option<Scheme>,
    pub(super) host: Option<Authority>,
}

impl Forwarded {
    /// What the headers say, of which those of proxies that `trusts` knows are believed. A proxy may know only one of
    /// both kinds, and pass the other on as the client made it up: so they must not contradict each other.
    ///
    /// # Errors
    /// They do, or say what cannot be.
    pub(super) fn of(
        headers: &HeaderMap,
        trusts: impl Fn(IpAddr) -> bool,
    ) -> Result<Self, Contradiction> {
        let mut standard = Self::of_standard(headers, &trusts)?;
        let mut usual = Self::of_usual(headers, &trusts)?;
        // Who does not know the client has not written it: what else it says was passed on.
        match (standard.client, usual.client) {
            (None, Some(_)) => standard = Self::default(),
            (Some(_), None) => usual = Self::default(),
            (Some(_), Some(_)) | (None, None) => {}
        }
        Ok(Self {
            client: same(standard.client, usual.client)?,
            scheme: same(standard.scheme, usual.scheme)?,
            host: same(standard.host, usual.host)?,
        })
    }

    fn of_standard(
        headers: &HeaderMap,
        trusts: impl Fn(IpAddr) -> bool,
    ) -> Result<Self, Contradiction> {
        let lines = texts(headers, &FORWARDED)?;
        if lines.iter().any(|line| ends_in_quotes(line)) {
            return Err(Contradiction("Forwarded has a quote without end"));
        }
        let elements: Vec<&str> = lines.iter().flat_map(|line| split(line, ',')).collect();
        let nodes: Vec<String> = elements
            .iter()
            .map(|element| parameter(element, "for").unwrap_or_default())
            .collect();
        let (client, place) = client(&nodes, trusts);
        let element = from_right(&elements, place).copied().unwrap_or_default();
        Ok(Self {
            client,
            scheme: parameter(element, "proto")
                .as_deref()
                .map(scheme)
                .transpose()?,
            host: parameter(element, "host")
                .as_deref()
                .map(host)
                .transpose()?,
        })
    }

    fn of_usual(
        headers: &HeaderMap,
        trusts: impl Fn(IpAddr) -> bool,
    ) -> Result<Self, Contradiction> {
        let list = |name: &'static str| -> Result<Vec<String>, Contradiction> {
            let lines = texts(headers, &HeaderName::from_static(name))?;
            let values = lines.iter().flat_map(|line| line.split(','));
            Ok(values.map(|value| value.trim().to_owned()).collect())
        };
        let (client, place) = client(&list("x-forwarded-for")?, trusts);
        // A proxy that sets them anew, and does not add, leaves one.
        let at = |values: Vec<String>| {
            let place = place.min(values.len().saturating_sub(1));
            from_right(&values, place).cloned()
        };
        Ok(Self {
            client,
            scheme: at(list("x-forwarded-proto")?)
                .as_deref()
                .map(scheme)
                .transpose()?,
            host: at(list("x-forwarded-host")?)
                .as_deref()
                .map(host)
                .transpose()?,
        })
    }
}

fn same<T: PartialEq>(one: Option<T>, other: Option<T>) -> Result<Option<T>, Contradiction> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => Err(Contradiction(
            "Forwarded and X-Forwarded-* say different things",
        )),
        (one, other) => Ok(one.or(other)),
    }
}

/// The right-most address that is not trusted, and how many stand right of it; if all are, the left-most. Behind a node
/// that is no address, nothing is known.
fn client(nodes: &[String], trusts: impl Fn(IpAddr) -> bool) -> (Option<IpAddr>, usize) {
    let mut found = (None, 0);
    for (place, node) in nodes.iter().rev().enumerate() {
        let Some(address) = address(node) else { break };
        found = (Some(address), place);
        if !trusts(address) {
            break;
        }
    }
    found
}

fn from_right<T>(values: &[T], place: usize) -> Option<&T> {
    values.iter().rev().nth(place)
}

/// An address, perhaps with brackets and a port.
fn address(node: &str) -> Option<IpAddr> {
    let bare = node
        .strip_prefix('[')
        .and_then(|node| node.strip_suffix(']'));
    let address = node
        .parse::<SocketAddr>()
        .map(|address| address.ip())
        .or_else(|_| bare.unwrap_or(node).parse::<IpAddr>());
    address.ok().map(|address| address.to_canonical())
}

fn scheme(value: &str) -> Result<Scheme, Contradiction> {
    match value.to_ascii_lowercase().as_str() {
        "https" => Ok(Scheme::HTTPS),
        "http" => Ok(Scheme::HTTP),
        _ => Err(Contradiction(
            "the forwarded scheme is neither http nor https",
        )),
    }
}

fn host(value: &str) -> Result<Authority, Contradiction> {
    let host = value.parse::<Authority>().ok();
    host.filter(|host| is_plain_host(host.as_str().as_bytes()))
        .ok_or(Contradiction("the forwarded host is none"))
}

fn texts<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Vec<&'a str>, Contradiction> {
    let lines = headers.get_all(name).iter().map(HeaderValue::to_str);
    lines
        .collect::<Result<_, _>>()
        .or(Err(Contradiction("a forwarding header is no text")))
}

/// The value of a parameter of an element: a token, or a quoted string.
fn parameter(element: &str, name: &str) -> Option<String> {
    split(element, ';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        if !key.trim().eq_ignore_ascii_case(name) {
            return None;
        }
        let value = value.trim();
        let quoted = value
            .strip_prefix('"')
            .and_then(|value| value.strip_suffix('"'));
        Some(quoted.map_or_else(|| value.to_owned(), |quoted| quoted.replace('\\', "")))
    })
}

/// The parts between separators that do not stand in quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quotes = Quotes::default();
    text.split(move |character| !quotes.hold(character) && character == separator)
        .map(str::trim)
}

/// Whether a text ends within quotes: then they hold what was added behind it, too.
fn ends_in_quotes(text: &str) -> bool {
    let mut quotes = Quotes::default();
    text.chars()
        .fold(false, |_, character| quotes.hold(character))
}

/// Quotes while a text is read (RFC 9110 section 5.6.4).
#[derive(Default)]
struct Quotes {
    is_open: bool,
    is_escaped: bool,
}

impl Quotes {
    /// Takes the next character; whether what follows it, and it itself if it is no quote, stands in quotes.
    fn hold(&mut self, character: char) -> bool {
        let is_escaped = std::mem::take(&mut self.is_escaped);
        match character {
            '\\' if self.is_open => self.is_escaped = !is_escaped,
            '"' if !is_escaped => self.is_open = !self.is_open,
            _ => {}
        }
        self.is_open
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(headers: &[(&'static str, &str)]) -> Result<[String; 3], &'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let trusts = |address: IpAddr| address.to_string().starts_with("10.");
        let Forwarded {
            client,
            scheme,
            host,
        } = Forwarded::of(&map, trusts).map_err(|Contradiction(why)| why)?;
        let text = |text: Option<String>| text.unwrap_or_default();
        Ok([
            text(client.map(|client| client.to_string())),
            text(scheme.map(|scheme| scheme.to_string())),
            text(host.map(|host| host.to_string())),
        ])
    }

    #[test]
    fn the_right_most_address_that_is_not_trusted_is_the_client() {
        for (name, value, expected, why) in [
            ("x-forwarded-for", "192.0.2.1", "192.0.2.1", "one"),
            (
                "x-forwarded-for",
                "6.6.6.6, 192.0.2.1, 10.0.0.2",
                "192.0.2.1",
                "what the client has made up counts nothing",
            ),
            (
                "x-forwarded-for",
                "10.0.0.1, 10.0.0.2",
                "10.0.0.1",
                "all are trusted",
            ),
            (
                "x-forwarded-for",
                "unknown, 10.0.0.2",
                "10.0.0.2",
                "nothing is known behind it",
            ),
            (
                "x-forwarded-for",
                "6.6.6.6, nonsense",
                "",
                "nothing is known at all",
            ),
            (
                "x-forwarded-for",
                "192.0.2.1:4711",
                "192.0.2.1",
                "with a port",
            ),
            (
                "x-forwarded-for",
                "[2001:db8::1]:4711",
                "2001:db8::1",
                "IPv6 with a port",
            ),
            (
                "x-forwarded-for",
                "::ffff:192.0.2.1",
                "192.0.2.1",
                "IPv4 as IPv6",
            ),
            ("forwarded", "for=192.0.2.1", "192.0.2.1", "the standard"),
            (
                "forwarded",
                "For=\"[2001:db8::1]:47\";proto=http, for=10.0.0.2",
                "2001:db8::1",
                "quoted",
            ),
            (
                "forwarded",
                "for=\"_a,for=6.6.6.6\", for=10.0.0.3",
                "10.0.0.3",
                "a comma in quotes parts nothing",
            ),
            (
                "forwarded",
                "for=\"\\\",\";by=x,for=192.0.2.1",
                "192.0.2.1",
                "a quote that is escaped",
            ),
            ("forwarded", "for=unknown", "", "unknown"),
        ] {
            assert_eq!(read(&[(name, value)]).unwrap()[0], expected, "{why}");
        }
        let lines = [
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "192.0.2.1"),
        ];
        assert_eq!(
            read(&lines).unwrap()[0],
            "192.0.2.1",
            "lines follow each other"
        );
    }

    #[test]
    fn scheme_and_host_are_those_of_the_place_of_the_client() {
        let standard = "for=6.6.6.6;proto=http;host=evil, for=192.0.2.1;proto=https;host=a.example:8443, for=10.0.0.1;proto=http;host=inner";
        let expected = ["192.0.2.1", "https", "a.example:8443"].map(str::to_owned);
        assert_eq!(read(&[("forwarded", standard)]).unwrap(), expected);
        let usual = [
            ("x-forwarded-for", "6.6.6.6, 192.0.2.1, 10.0.0.1"),
            ("x-forwarded-proto", "http, HTTPS, http"),
            ("x-forwarded-host", "evil, a.example:8443, inner"),
        ];
        assert_eq!(read(&usual).unwrap(), expected);
        let once = [
            ("x-forwarded-for", "192.0.2.1, 10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a.example:8443"),
        ];
        assert_eq!(
            read(&once).unwrap(),
            expected,
            "set once by the first proxy"
        );
        assert_eq!(read(&[("x-forwarded-proto", "https")]).unwrap()[1], "https");
        assert_eq!(read(&[]).unwrap(), [const { String::new() }; 3]);
    }

    #[test]
    fn what_contradicts_itself_or_cannot_be_is_refused() {
        for (headers, why) in [
            (
                vec![
                    ("forwarded", "for=6.6.6.6"),
                    ("x-forwarded-for", "192.0.2.1"),
                ],
                "two clients",
            ),
            (
                vec![("forwarded", "proto=http"), ("x-forwarded-proto", "https")],
                "two schemes",
            ),
            (
                vec![("forwarded", "host=a"), ("x-forwarded-host", "b")],
                "two hosts",
            ),
            (vec![("x-forwarded-proto", "gopher")], "no scheme of ours"),
            (vec![("x-forwarded-host", "a@evil")], "a user in the host"),
            (vec![("x-forwarded-host", "a/b")], "a path in the host"),
            (vec![("forwarded", "host=\"\"")], "an empty host"),
            (
                vec![("forwarded", "for=6.6.6.6;x=\", for=192.0.2.1")],
                "a quote that swallows what the proxy adds",
            ),
            (
                vec![("forwarded", "for=6.6.6.6;x=\"\\, for=\"[2001:db8::1]\"")],
                "the same with an escape",
            ),
        ] {
            assert!(read(&headers).is_err(), "{why}");
        }
        let agree = [
            ("forwarded", "for=192.0.2.1"),
            ("x-forwarded-for", "192.0.2.1"),
        ];
        assert_eq!(read(&agree).unwrap()[0], "192.0.2.1");
    }

    proptest! {
        /// Whatever a client sends, the proxy that is believed adds the address that it has seen.
        #[test]
        fn nothing_that_a_client_sends_moves_what_the_proxy_adds(
            sent in "[ -~]{0,60}",
            client in any::<std::net::Ipv4Addr>(),
        ) {
            prop_assume!(client.octets()[0] != 10);
            let usual = format!("{sent}, {client}");
            let told = read(&[("x-forwarded-for", &usual)]).unwrap();
            prop_assert_eq!(&told[0], &client.to_string());
            let standard = format!("{sent}, for={client}");
            if let Ok([told, ..]) = read(&[("forwarded", &standard)]) {
                prop_assert_eq!(told, client.to_string());
            }
        }
    }
}
