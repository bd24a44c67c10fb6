//! Keys of the listeners, and of the registry behind.

use std::net::SocketAddr;
use std::time::Duration;

use super::Needed;
use crate::config::kind::{Address, Choice, FilePath, Flag, Span, Url};
use crate::config::section::Section;
use crate::config::settings::{Admin, Auth, Listen, Upstream};

pub(super) fn listen(keys: &mut Section<'_>) -> Listen {
    let listen = Listen {
        address: keys.value(
            "address",
            "The address and port of the registry that clients see.",
            &Address,
            SocketAddr::from(([0, 0, 0, 0], 8080)),
        ),
        public_url: keys.optional(
            "public_url",
            "The URL by which clients reach that address, for instance through a load balancer that ends TLS.",
            &Url::ORIGIN,
        ),
    };
    keys.later("signing", "A second data listener for those who sign.");
    keys.later("tls", "The certificate of the listener.");
    keys.later("proxy_protocol", "The PROXY protocol of a load balancer.");
    keys.later(
        "trusted_proxies",
        "Proxies whose forwarding headers are believed.",
    );
    listen
}

pub(super) fn admin(keys: &mut Section<'_>) -> Admin {
    let admin = Admin {
        address: keys.value(
            "address",
            "The address and port of health and metrics.",
            &Address,
            SocketAddr::from(([127, 0, 0, 1], 8081)),
        ),
    };
    keys.later("token_file", "The bearer token of the admin API.");
    admin
}

/// The registry behind; there is none only if a mistake was reported or if it is not needed.
pub(super) fn upstream(keys: &mut Section<'_>, needed: Needed) -> Option<Upstream> {
    let about =
        "The registry behind: http or https, host and perhaps port, no path. Required by serve.";
    let url = match needed {
        Needed::Upstream => keys.required("url", about, &Url::ORIGIN, Some("--upstream")),
        Needed::Stores => keys.optional("url", about, &Url::ORIGIN),
    };
    let ca = keys.optional(
        "ca",
        "A PEM file with certificate authorities to trust besides those of the system.",
        &FilePath,
    );
    let hides_private_repositories = keys.value(
        "hides_private_repositories",
        "Whether the registry answers 404 for what a caller may not see. If unsure: true.",
        &Flag,
        true,
    );
    keys.later(
        "client_certificate",
        "The certificate regseal shows to the registry.",
    );
    keys.later("client_key", "The key of that certificate.");
    keys.later(
        "service_account",
        "The credentials of work that no caller asked for.",
    );
    Some(Upstream {
        url: url?,
        ca,
        hides_private_repositories,
    })
}

pub(super) fn auth(keys: &mut Section<'_>) -> Auth {
    // Before there are policies no challenge is rewritten, so both words mean the same.
    keys.value(
        "token_relay",
        "Whether challenges name regseal's own token service when a policy needs it. Without effect as yet.",
        &Choice(&[("auto", Some("auto")), ("off", Some("off"))]),
        "auto",
    );
    keys.later("realms", "The token services a challenge may name.");
    Auth {
        cache_ttl: keys.value(
            "cache_ttl",
            "How long a positive decision of the registry is believed; at most 60s, 0s asks each time.",
            &Span(Duration::ZERO..=Duration::from_secs(60)),
            Duration::from_secs(30),
        ),
    }
}
