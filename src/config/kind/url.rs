//! URLs of servers. What a URL says must be honoured; so parts that would be dropped are refused.

use std::path::Path;

use http::Uri;
use serde_json::{Value as Json, json};

use super::{Fault, Kind, Node};
use crate::config::mistake::Problem;

/// An `http` or `https` URL without userinfo, query and fragment.
pub(in crate::config) struct Url {
    path: bool,
}

impl Url {
    /// A scheme, a host and perhaps a port; no path.
    pub(in crate::config) const ORIGIN: Self = Self { path: false };

    /// A URL that requests are sent below, so that it may have a path.
    pub(in crate::config) const BASE: Self = Self { path: true };
}

impl Kind for Url {
    type Value = Uri;

    fn read(&self, node: &Node, _: &Path) -> Result<Uri, Vec<Fault>> {
        let expected = "a URL such as https://registry.example.com";
        let Some(text) = node.text() else {
            return Err(node.unexpected(expected));
        };
        // First of all, and even where the rest is no URL: a password must not be repeated in a message.
        if text.contains('@') {
            return Err(node.fault(Problem::UrlPart("userinfo")));
        }
        // The parser drops a fragment silently.
        if text.contains('#') {
            return Err(node.fault(Problem::UrlPart("fragment")));
        }
        if text.contains('?') {
            return Err(node.fault(Problem::UrlPart("query")));
        }
        match text.parse::<Uri>() {
            Ok(url) if is_server(&url) => {
                if !self.path && url.path() != "/" {
                    return Err(node.fault(Problem::UrlPart("path")));
                }
                Ok(url)
            }
            Ok(_) | Err(_) => Err(node.unexpected(expected)),
        }
    }

    fn show(&self, value: &Uri) -> Json {
        let url = value.to_string();
        let origin = url.strip_suffix('/').filter(|_| value.path() == "/");
        json!(origin.unwrap_or(&url))
    }

    fn schema(&self) -> Json {
        let pattern = if self.path {
            "^https?://[^/@?#]+(/[^@?#]*)?$"
        } else {
            "^https?://[^/@?#]+/?$"
        };
        json!({"type": "string", "format": "uri", "pattern": pattern})
    }
}

/// A list of URLs that requests are sent to.
pub(in crate::config) struct Urls;

impl Kind for Urls {
    type Value = Vec<Uri>;

    fn read(&self, node: &Node, base: &Path) -> Result<Vec<Uri>, Vec<Fault>> {
        let Some(elements) = node.list() else {
            return Err(node.unexpected("a list of URLs"));
        };
        let mut urls = Vec::new();
        let mut faults = Vec::new();
        for element in elements {
            match Url::BASE.read(element, base) {
                Ok(url) => urls.push(url),
                Err(found) => faults.extend(found),
            }
        }
        if faults.is_empty() {
            Ok(urls)
        } else {
            Err(faults)
        }
    }

    fn show(&self, urls: &Vec<Uri>) -> Json {
        urls.iter().map(|url| Url::BASE.show(url)).collect()
    }

    fn schema(&self) -> Json {
        json!({"type": "array", "items": Url::BASE.schema(), "uniqueItems": true})
    }
}

/// A list of hosts, each perhaps with a port.
pub(in crate::config) struct Hosts;

impl Kind for Hosts {
    type Value = Vec<String>;

    fn read(&self, node: &Node, _: &Path) -> Result<Vec<String>, Vec<Fault>> {
        let expected = "a list of hosts such as registry.example.com or registry.example.com:5000";
        let Some(elements) = node.list() else {
            return Err(node.unexpected(expected));
        };
        let mut hosts = Vec::new();
        let mut faults = Vec::new();
        for element in elements {
            let text = element.text();
            match text.filter(|text| is_server_name(text)) {
                Some(host) => hosts.push(host.to_owned()),
                None => faults.extend(element.unexpected(expected)),
            }
        }
        if faults.is_empty() {
            Ok(hosts)
        } else {
            Err(faults)
        }
    }

    fn show(&self, hosts: &Vec<String>) -> Json {
        json!(hosts)
    }

    fn schema(&self) -> Json {
        let host = json!({"type": "string", "pattern": "^[^/@?#\\\\s]+$"});
        json!({"type": "array", "items": host, "uniqueItems": true})
    }
}

fn is_server_name(text: &str) -> bool {
    let url = format!("http://{text}").parse::<Uri>();
    !text.contains(['/', '@', '?', '#']) && url.is_ok_and(|url| is_server(&url))
}

/// Whether the URL names a server that can be spoken to: by HTTP, with a host, on a port that exists.
fn is_server(url: &Uri) -> bool {
    let Some(authority) = url.authority() else {
        return false;
    };
    let names_port = authority.as_str().len() > authority.host().len();
    matches!(url.scheme_str(), Some("http" | "https"))
        && !authority.host().is_empty()
        && (!names_port || authority.port_u16().is_some_and(|port| port > 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::Value;

    fn read(kind: &Url, text: &str) -> Result<String, String> {
        let node = Node {
            line: 1,
            value: Value::Text(text.to_owned()),
        };
        match kind.read(&node, Path::new("")) {
            Ok(url) => Ok(kind.show(&url).as_str().unwrap_or_default().to_owned()),
            Err(faults) => Err(faults[0].problem.to_string()),
        }
    }

    #[test]
    fn origins_are_read() {
        for url in [
            "http://localhost:5000",
            "https://registry.example.com",
            "http://[::1]:5000",
        ] {
            assert_eq!(read(&Url::ORIGIN, url), Ok(url.to_owned()));
        }
        assert_eq!(read(&Url::ORIGIN, "http://a/"), Ok("http://a".to_owned()));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        for (url, reason) in [
            ("http://user:hidden@host", "userinfo"),
            ("http:/user:hidden@host", "userinfo"),
            ("http://host?tenant=1", "query"),
            ("http://host#top", "fragment"),
            ("http://host/prefix", "path"),
            ("http://host//", "path"),
            ("ftp://host", "such as"),
            ("host:5000", "such as"),
            ("host", "such as"),
            ("/path", "such as"),
            ("http://", "such as"),
            ("http://:5000", "such as"),
            ("http://host:99999", "such as"),
            ("http://host:0", "such as"),
            ("http://host:", "such as"),
            ("http://ho st", "such as"),
        ] {
            let problem = read(&Url::ORIGIN, url).unwrap_err();
            assert!(problem.contains(reason), "{url}: {problem}");
            assert!(!problem.contains("hidden"), "{url}: {problem}");
        }
    }

    #[test]
    fn a_base_may_have_a_path() {
        let url = "https://collector.example.com/otlp";
        assert_eq!(read(&Url::BASE, url), Ok(url.to_owned()));
    }
}
