//! URLs of Redis: `redis://[user[:password]@]host[:port][,host[:port]…][/database]`, `rediss` for TLS.

use std::fmt::Write;
use std::net::Ipv6Addr;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::{Fault, Kind, Node};
use crate::config::mistake::Problem;
use crate::secret::{HIDDEN, Secret};

/// What a URL of Redis says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct RedisAddress {
    pub(in crate::config) tls: bool,
    pub(in crate::config) username: Option<String>,
    pub(in crate::config) password: Option<Secret>,
    /// Names or addresses without brackets, and ports where they are written.
    pub(in crate::config) hosts: Vec<(String, Option<u16>)>,
    pub(in crate::config) database: Option<u32>,
}

/// A URL of Redis.
pub(in crate::config) struct RedisUrl;

impl Kind for RedisUrl {
    type Value = RedisAddress;

    fn read(&self, node: &Node, _: &Path) -> Result<RedisAddress, Vec<Fault>> {
        let text = node.text().unwrap_or_default();
        if text.contains('?') {
            return Err(node.fault(Problem::UrlPart("query")));
        }
        if text.contains('#') {
            return Err(node.fault(Problem::UrlPart("fragment")));
        }
        parse(text).ok_or_else(|| {
            let expected =
                "a URL such as redis://localhost:6379 or rediss://user@redis.example.com:6380/0";
            // What is before an @ may be a password, whatever the rest looks like.
            let found = if text.contains('@') {
                "a text with userinfo".to_owned()
            } else {
                node.value.to_string()
            };
            let expected = expected.into();
            node.fault(Problem::Unexpected { expected, found })
        })
    }

    fn show(&self, address: &RedisAddress) -> Json {
        let mut url = String::from(if address.tls { "rediss://" } else { "redis://" });
        let (username, password) = (&address.username, &address.password);
        if username.is_some() || password.is_some() {
            url.push_str(&encode(username.as_deref().unwrap_or_default()));
            if password.is_some() {
                url.push(':');
                url.push_str(HIDDEN);
            }
            url.push('@');
        }
        for (index, (host, port)) in address.hosts.iter().enumerate() {
            if index > 0 {
                url.push(',');
            }
            url.push_str(&if host.contains(':') {
                format!("[{host}]")
            } else {
                host.clone()
            });
            if let Some(port) = port {
                write!(url, ":{port}").expect("writing to a string does not fail");
            }
        }
        if let Some(database) = address.database {
            write!(url, "/{database}").expect("writing to a string does not fail");
        }
        json!(url)
    }

    fn schema(&self) -> Json {
        json!({"type": "string", "pattern": "^rediss?://[^/?#]+(/[0-9]*)?$"})
    }
}

fn parse(text: &str) -> Option<RedisAddress> {
    let (scheme, rest) = text.split_once("://")?;
    let tls = match scheme {
        "redis" => false,
        "rediss" => true,
        _ => return None,
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let database = match path {
        "" => None,
        number => Some(number.parse().ok()?),
    };
    let (username, password, hosts) = match authority.rsplit_once('@') {
        None => (None, None, authority),
        Some((userinfo, hosts)) => {
            let (username, password) = match userinfo.split_once(':') {
                None => (userinfo, None),
                Some((username, password)) => (username, Some(password)),
            };
            let password = password.map(decode);
            if matches!(password, Some(None)) {
                return None;
            }
            (Some(decode(username)?), password.flatten(), hosts)
        }
    };
    Some(RedisAddress {
        tls,
        username: username.filter(|username| !username.is_empty()),
        password: password
            .filter(|password| !password.is_empty())
            .map(Secret::new),
        hosts: hosts.split(',').map(host).collect::<Option<_>>()?,
        database,
    })
}

fn host(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            let port = match port {
                "" => None,
                port => Some(port.strip_prefix(':')?),
            };
            (address, port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.is_empty() || !(text.starts_with('[') || host.chars().all(is_name)) {
        return None;
    }
    let port = match port {
        None => None,
        Some(digits) => Some(digits.parse().ok().filter(|port| *port > 0)?),
    };
    Some((host.to_owned(), port))
}

/// Undoes `%40` and the like.
fn decode(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a string does not fail");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::Value;

    fn read(text: &str) -> Result<RedisAddress, String> {
        let node = Node {
            line: 1,
            value: Value::Text(text.to_owned()),
        };
        let read = RedisUrl.read(&node, Path::new(""));
        read.map_err(|faults| faults[0].problem.to_string())
    }

    #[test]
    fn every_part_is_read_and_the_password_is_not_shown() {
        for (url, shown) in [
            ("redis://localhost", "redis://localhost"),
            ("redis://localhost/", "redis://localhost"),
            ("redis://10.0.0.1:6379/2", "redis://10.0.0.1:6379/2"),
            ("rediss://[::1]:6380", "rediss://[::1]:6380"),
            ("redis://[::1],b:1", "redis://[::1],b:1"),
            ("redis://user@redis", "redis://user@redis"),
            ("redis://us%3Aer:hidden@redis", "redis://us%3Aer:***@redis"),
            ("redis://:hidden@redis", "redis://:***@redis"),
            ("redis://hid:d%40en@en@redis", "redis://hid:***@redis"),
        ] {
            let address = read(url).unwrap();
            assert_eq!(RedisUrl.show(&address), json!(shown), "{url}");
        }
        let address = read("rediss://us%3Aer:p%40ss:word@a:1,b,[2001:db8::1]:3/7").unwrap();
        assert!(address.tls);
        assert_eq!(address.username.as_deref(), Some("us:er"));
        assert_eq!(address.password, Some(Secret::new("p@ss:word")));
        let hosts = [("a", Some(1)), ("b", None), ("2001:db8::1", Some(3))];
        assert_eq!(
            address.hosts,
            hosts.map(|(host, port)| (host.to_owned(), port))
        );
        assert_eq!(address.database, Some(7));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_and_not_repeated() {
        for (url, reason) in [
            ("http://redis:6379", "such as redis://"),
            ("unix:///run/redis.sock", "such as redis://"),
            ("redis+sentinel://a:hidden@redis", "a text with userinfo"),
            ("redis", "such as redis://"),
            ("redis://", "such as redis://"),
            ("redis://:6379", "such as redis://"),
            ("redis://a,,b", "such as redis://"),
            ("redis://a:0", "such as redis://"),
            ("redis://a:66000", "such as redis://"),
            ("redis://::1", "such as redis://"),
            ("redis://[::1", "such as redis://"),
            ("redis://[name]:1", "such as redis://"),
            ("redis://a/zero", "such as redis://"),
            ("redis://a/-1", "such as redis://"),
            ("redis://user:hid%den@redis", "a text with userinfo"),
            ("redis:/user:hidden@redis", "a text with userinfo"),
            ("redis://user:hidden/word@redis", "a text with userinfo"),
            ("redis://redis?db=1", "without query"),
            ("rediss://redis/#insecure", "without fragment"),
        ] {
            let problem = read(url).unwrap_err();
            assert!(problem.contains(reason), "{url}: {problem}");
            assert!(!problem.contains("hid"), "{url}: {problem}");
        }
    }
}
