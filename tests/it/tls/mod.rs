//! TLS on both sides, HTTP/2, and load balancers before regseal.

mod balancers;
mod clients;
mod http2;
mod reload;
mod upstream;

use crate::support::clients::{Output, Tool};
use crate::support::gate::Gate;
use crate::support::http::Endpoint;
use crate::support::regseal::Builder;
use crate::support::tls::{Authority, Pair};
use crate::support::{ALICE, Auth, Registry, Regseal, Repository};

/// A registry, a gate that remembers what it is asked, and regseal before it.
struct Stage {
    regseal: Regseal,
    gate: Gate,
    registry: Registry,
}

impl Stage {
    /// With these lines of configuration below `listen`.
    fn with(listen: &str) -> Self {
        Self::configured(listen, |builder| builder)
    }

    fn configured(listen: &str, more: impl Fn(Builder) -> Builder) -> Self {
        let registry = Registry::with(Auth::None);
        let gate = Gate::before(&registry);
        let builder = Regseal::at(&gate.endpoint).config(&format!("listen: {{{listen}}}\n"));
        Self {
            regseal: more(builder).start(),
            gate,
            registry,
        }
    }

    /// A repository of the registry behind.
    fn behind(&self, name: &str) -> Repository {
        self.registry.endpoint.repository(ALICE, name)
    }

    fn authority(&self) -> &str {
        &self.regseal.endpoint.authority
    }
}

/// The section `tls` with this pair, and with the authority of clients if they have to be known.
fn tls(pair: &Pair, clients: Option<&Authority>) -> String {
    let clients = clients.map(|clients| format!(", client_ca: {:?}", clients.file()));
    format!(
        "tls: {{certificate: {:?}, key: {:?}{}}}",
        pair.certificate,
        pair.key,
        clients.unwrap_or_default()
    )
}

/// curl, which prints status and version of HTTP behind what it was answered.
fn curl(trusted: Option<&Authority>, arguments: &[&str]) -> Output {
    let endpoint = Endpoint {
        authority: String::new(),
        access: crate::support::http::Access::Open,
    };
    let tool = Tool::new("curl", &endpoint);
    let ca = trusted.map(|authority| authority.file().display().to_string());
    let ca = ca.iter().flat_map(|file| ["--cacert", file.as_str()]);
    tool.run(
        ["-sS", "-w", "\n%{http_code} %{http_version}"]
            .into_iter()
            .chain(ca)
            .chain(arguments.iter().copied()),
    )
}
