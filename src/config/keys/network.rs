//! Keys of the listeners, and of the registry behind.

use std::net::SocketAddr;
use std::time::Duration;

use super::Needed;
use crate::config::kind::{Address, Choice, FilePath, Flag, Name, SecretFile, Span, Url, Urls};
use crate::config::mistake::Problem;
use crate::config::section::Section;
use crate::config::settings::{Admin, Auth, Listen, ServiceAccount, TokenRelay, Upstream};

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
    let address = keys.value(
        "address",
        "The address and port of health and metrics, and of the admin API.",
        &Address,
        SocketAddr::from(([127, 0, 0, 1], 8081)),
    );
    let token = keys.optional(
        "token_file",
        "The file with the bearer token of the admin API. Without it there is no such API.",
        &SecretFile,
    );
    Admin {
        address,
        token: token.map(|(_, token)| token),
    }
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
    let service_account = keys.alternative(
        "service_account",
        "The credentials of work that no caller asked for.",
        account,
    );
    Some(Upstream {
        url: url?,
        ca,
        hides_private_repositories,
        service_account,
    })
}

fn account(keys: &mut Section<'_>) -> Option<ServiceAccount> {
    let origin = keys.origin("username");
    let is_written = keys.first_written(&["password", "password_file"]).is_some();
    let username = keys.required("username", "The user. Required.", &Name, None);
    let password = keys.secret(
        ("password", "The password."),
        ("password_file", "The file with the password."),
    );
    if let (Some(origin), false) = (origin, is_written) {
        keys.report(
            origin,
            "username",
            Problem::Needs("a password or password_file for the user it names"),
        );
    }
    Some(ServiceAccount {
        username: username?,
        password: password?,
    })
}

pub(super) fn auth(keys: &mut Section<'_>) -> Auth {
    Auth {
        token_relay: keys.value(
            "token_relay",
            "Whether challenges name regseal's own token service where a rule of the policy rejects: auto, or off.",
            &Choice(&[
                ("auto", Some(TokenRelay::Auto)),
                ("off", Some(TokenRelay::Off)),
            ]),
            TokenRelay::Auto,
        ),
        realms: keys.value(
            "realms",
            "The token services that a challenge of the registry may name beside that of its own host.",
            &Urls,
            Vec::new(),
        ),
        cache_ttl: keys.value(
            "cache_ttl",
            "How long a positive decision of the registry is believed; at most 60s, 0s asks each time.",
            &Span(Duration::ZERO..=Duration::from_secs(60)),
            Duration::from_secs(30),
        ),
    }
}
