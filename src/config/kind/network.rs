//! Networks of peers.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use serde_json::{Value as Json, json};

use super::{Fault, Kind, Node};

/// A list of networks in CIDR notation (RFC 4632), or single addresses.
pub(in crate::config) struct Networks;

impl Kind for Networks {
    type Value = Vec<IpNet>;

    fn read(&self, node: &Node, _: &Path) -> Result<Vec<IpNet>, Vec<Fault>> {
        let Some(elements) = node.list() else {
            return Err(node.unexpected("a list of networks"));
        };
        let mut networks = Vec::new();
        let mut faults = Vec::new();
        for element in elements {
            match element.text().and_then(network) {
                Some(network) => networks.push(network),
                None => {
                    faults.extend(element.unexpected("a network such as 10.0.0.0/8 or an address"));
                }
            }
        }
        if faults.is_empty() {
            Ok(networks)
        } else {
            Err(faults)
        }
    }

    fn show(&self, networks: &Vec<IpNet>) -> Json {
        networks.iter().map(ToString::to_string).collect()
    }

    fn schema(&self) -> Json {
        json!({"type": "array", "items": {"type": "string", "examples": ["10.0.0.0/8", "fd00::/8"]}, "uniqueItems": true})
    }
}

/// A network whose address has no bits beyond its prefix: with such bits it is not clear what was meant.
fn network(text: &str) -> Option<IpNet> {
    let network: IpNet = match text.parse::<IpAddr>() {
        Ok(address) => address.into(),
        Err(_) => text.parse().ok()?,
    };
    (network.addr() == network.network()).then_some(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_no_bits_beyond_its_prefix() {
        for (text, shown) in [
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("127.0.0.1", Some("127.0.0.1/32")),
            ("fd00::/8", Some("fd00::/8")),
            ("::1", Some("::1/128")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("10.0.0.1/8", None),
            ("10.0.0.0/33", None),
            ("localhost", None),
            ("", None),
        ] {
            let read = network(text).map(|network| network.to_string());
            assert_eq!(read.as_deref(), shown, "{text}");
        }
    }
}
